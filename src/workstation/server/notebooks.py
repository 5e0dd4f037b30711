"""The shipped notebooks, laid into the home: nothing of the person's is ever overwritten or lost.

A manifest in the home holds the SHA-256 of every version that was ever shipped to it. By it, a file that still equals
one of those is known to be unedited. Without it (first start, lost, corrupt) every differing file counts as edited.

    missing                        copied
    unedited, an older version     replaced by the shipped one
    edited, the shipped is newer   the shipped one is laid beside it once, as NAME.new.ipynb
    edited, the shipped is known   left alone
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path

from workstation.server.atomic import make_directory, write

SHIPPED = Path("/opt/workstation/notebooks")
Manifest = dict[str, list[str]]  # path below notebooks/ -> SHA-256 of each version shipped, in the order they came


def lay_out(home: Path, shipped: Path = SHIPPED) -> None:
    """Bring `home`/notebooks up to what is in `shipped`. Raises HomeError: disk full, a folder that is not writable."""
    manifest_path = home / ".config" / "workstation" / "notebooks.json"
    before = _read(manifest_path)
    after = {name: list(versions) for name, versions in before.items()}
    for source in sorted(path for path in shipped.rglob("*") if path.is_file()):
        name = source.relative_to(shipped).as_posix()
        versions = after.setdefault(name, [])
        content = source.read_bytes()
        _lay(home / "notebooks" / name, content, versions)
        if _digest(content) not in versions:
            versions.append(_digest(content))
    if after != before:
        make_directory(manifest_path.parent)
        write(manifest_path, json.dumps(after, indent=1, sort_keys=True).encode() + b"\n")


def _lay(target: Path, content: bytes, versions: list[str]) -> None:
    if not _is_there(target) or _is_unedited(target, versions):
        _place(target, content)
    elif _digest(content) not in versions and not _holds(target, content):
        beside = next(
            path
            for path in _names_beside(target)
            if not _is_there(path) or _holds(path, content) or _is_unedited(path, versions)
        )
        _place(beside, content)


def _place(target: Path, content: bytes) -> None:
    if not _holds(target, content):
        make_directory(target.parent)
        write(target, content)


def _names_beside(target: Path) -> Iterator[Path]:
    numbered = (f".new-{number}" for number in count(2))
    return (target.with_name(f"{target.stem}{mark}{target.suffix}") for mark in chain([".new"], numbered))


def _is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()  # a link that leads nowhere is the person's too


def _is_unedited(path: Path, versions: list[str]) -> bool:
    """A link or a folder of that name is the person's own doing."""
    return path.is_file() and not path.is_symlink() and _digest(path.read_bytes()) in versions


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read(path: Path) -> Manifest:
    try:
        manifest = json.loads(path.read_bytes())
        return {str(name): [str(version) for version in versions] for name, versions in manifest.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
