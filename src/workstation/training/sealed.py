"""A checkpoint on the disk: a directory in PyTorch's distributed format that is whole, by its checksums, or not there.

`sha256sum --check SHA256SUMS` in one says the same as `is_whole`.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from torch.distributed.checkpoint import FileSystemWriter, Metadata
from torch.distributed.checkpoint.storage import WriteResult

from workstation.training.atomic import publish, write_whole

SUMS = "SHA256SUMS"


class Writer(FileSystemWriter):
    """Every rank writes its file under a hidden name; when all have, rank 0 seals the directory and shows it."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory.with_name(f".{directory.name}.partial"))
        self._directory = directory

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """Called by torch on rank 0, once each rank's file is on the disk."""
        super().finish(metadata, results)
        partial = Path(self.path)
        sums = [f"{_sha256(file)}  {file.name}\n" for file in sorted(partial.iterdir())]
        write_whole(partial / SUMS, "".join(sums).encode())
        shutil.rmtree(self._directory, ignore_errors=True)  # one of this name was damaged: a whole one is gone on from
        publish(partial, self._directory)


def is_whole(directory: Path) -> bool:
    """Whether every file is what was written, and none is missing."""
    try:
        lines = (directory / SUMS).read_text().splitlines()
        sums = {name: digest for digest, name in (line.split("  ", maxsplit=1) for line in lines)}
        return ".metadata" in sums and all(_sha256(directory / name) == digest for name, digest in sums.items())
    except (OSError, ValueError):
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
