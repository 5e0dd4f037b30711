"""Whether the .pyc files in torch's own site-packages match their sources (PEP 552)."""

from __future__ import annotations

import importlib.util
import json
import os
import struct
from pathlib import Path

NAMED = 20


def is_stale(source: Path, cached: Path) -> bool:
    """Whether Python would recompile `source` (or, for an unchecked hash, would run something else than it says)."""
    with cached.open("rb") as file:
        header = file.read(16)
    if len(header) < 16 or header[:4] != importlib.util.MAGIC_NUMBER:
        return True
    if struct.unpack("<I", header[4:8])[0] & 1:  # named by the source's hash
        return header[8:16] != importlib.util.source_hash(source.read_bytes())
    status = source.stat()
    mtime, size = struct.unpack("<II", header[8:16])
    return (mtime, size) != (int(status.st_mtime) & 0xFFFFFFFF, status.st_size & 0xFFFFFFFF)


def survey(root: Path) -> dict[str, object]:
    seen, without, stale = 0, 0, list[str]()
    for folder, _, names in os.walk(root):
        for name in names:
            if not name.endswith(".py"):
                continue
            source = Path(folder, name)
            cached = Path(importlib.util.cache_from_source(str(source)))
            try:
                if not cached.exists():
                    without += 1
                    continue
                seen += 1
                if is_stale(source, cached):
                    stale.append(str(source))
            except OSError:  # not ours to read: then Python cannot read it either, and another check says so
                continue
    return {
        "seen": seen,
        "without": without,
        "stale_count": len(stale),
        "stale": sorted(stale)[:NAMED],
    }


def main() -> None:
    torch = importlib.util.find_spec("torch")
    assert torch is not None
    assert torch.origin is not None
    print(json.dumps(survey(Path(torch.origin).parent.parent)))


if __name__ == "__main__":
    main()
