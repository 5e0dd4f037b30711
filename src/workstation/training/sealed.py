"""A checkpoint on the disk: a directory in PyTorch's distributed format that is whole, by its checksums, or not there.

`sha256sum --check SHA256SUMS` in one says the same as `is_whole`.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch.distributed.checkpoint import FileSystemReader, FileSystemWriter, Metadata
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future

from workstation.training.atomic import publish, write_whole

SUMS, METADATA = "SHA256SUMS", ".metadata"
PLACE = r"-(\d{6,})-(\d{6,})"


@dataclass(frozen=True)
class Written(WriteResult):
    """Something that was written, and its file's digest, from the rank whose file it is: rank 0 need not read it."""

    digest: str


class Writer(FileSystemWriter):
    """Every rank writes its file under a hidden name; when all have, rank 0 seals the directory, and it is shown."""

    def __init__(self, directory: Path, shown: Callable[[], object]) -> None:
        super().__init__(directory.with_name(f".{directory.name}.partial"))
        self._directory = directory
        self._shown = shown  # called on rank 0 afterwards

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        """Called by torch on every rank: its file to the disk, and what that file must be."""
        results = super().write_data(plan, planner).wait()
        names = {each.storage_data.relative_path for each in results}
        digests = {name: _sha256(Path(self.path) / name) for name in names}
        done: Future[list[WriteResult]] = Future()
        done.set_result([Written(**vars(each), digest=digests[each.storage_data.relative_path]) for each in results])
        return done

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """Called by torch on rank 0, once each rank's file is on the disk."""
        super().finish(metadata, results)
        partial = Path(self.path)
        # Not what the directory lists: over a network it may not show yet what other machines wrote.
        sums = {each.storage_data.relative_path: each.digest for rank in results for each in rank}
        for name in sums:
            (partial / name).stat()  # where the ranks share no disk, this is where it shows
        sums[METADATA] = _sha256(partial / METADATA)
        lines = [f"{digest}  {name}\n" for name, digest in sorted(sums.items())]
        write_whole(partial / SUMS, "".join(lines).encode())
        publish(partial, self._directory)
        self._shown()


def is_whole(directory: Path, part: int = 0, parts: int = 1) -> bool:
    """Whether no file is missing, and each is what was written; of `parts`, one reads only its own share of them."""
    try:
        lines = (directory / SUMS).read_text().splitlines()
        sums = {name: digest for digest, name in (line.split("  ", maxsplit=1) for line in lines)}
        if _sha256(directory / METADATA) != sums[METADATA]:
            return False
        needed = {each.relative_path for each in FileSystemReader(directory).read_metadata().storage_data.values()}
        mine = sorted(sums)[part::parts]
        return needed <= sums.keys() and all(_sha256(directory / name) == sums[name] for name in mine)
    except (OSError, ValueError, KeyError):
        return False


def saved(directory: Path, name: str) -> list[Path]:
    """The checkpoints NAME-EPOCH-STEP in a directory, whole or not, oldest first."""
    return _in_order(directory, re.escape(name) + PLACE)


def swept(directory: Path, name: str) -> list[Path]:
    """The same, and what was left half written is gone."""
    for half_written in _in_order(directory, rf"\.{re.escape(name)}{PLACE}\.partial"):
        _remove(half_written)
    return saved(directory, name)


def _in_order(directory: Path, pattern: str) -> list[Path]:
    found = {path: re.fullmatch(pattern, path.name) for path in directory.glob("*")}
    places = {path: (int(place[1]), int(place[2])) for path, place in found.items() if place}
    return sorted(places, key=lambda path: places[path])


def set_aside(checkpoints: Sequence[Path]) -> None:
    """Hide each as .NAME-EPOCH-STEP.damaged: it counts no more, and its name is free."""
    for path in checkpoints:
        aside = path.with_name(f".{path.name}.damaged")
        _remove(aside)
        path.rename(aside)
        print(f"workstation: {path.name} is kept as {aside}", file=sys.stderr)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
