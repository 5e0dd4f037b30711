"""The directory of one run. A new run gets a new one: no earlier result is ever written over."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import torch.distributed as dist

from workstation.errors import SettingError, WorkstationError
from workstation.training import distributed
from workstation.training.atomic import write_whole

SETTINGS = "settings.json"


class RunDirectoryError(WorkstationError):
    """The run's directory cannot be made or written."""

    exit_code = 73


def begin(name: str, chosen: Path | None, settings: dict[str, Any]) -> Path:
    """A directory for a run, made by rank 0 and seen by all, and in it what the run was told.

    torchrun starts the same command again after a failure, so under it `chosen` may hold this very run: it goes on.
    Every rank must ask.
    """
    directory = distributed.from_first(lambda: _begin(name, chosen, settings))
    if not directory.is_dir():
        raise SettingError(
            f"rank {distributed.rank()} does not see {directory}, which rank 0 made",
            remedy="--out must name a directory that every node shares.",
        )
    return directory


def _begin(name: str, chosen: Path | None, settings: dict[str, Any]) -> Path:
    told = json.loads(json.dumps(settings))  # a tuple comes back as a list
    if chosen is not None and dist.is_torchelastic_launched() and _kept(chosen) == told:
        return chosen
    directory = create(name, chosen)
    write_json(directory / SETTINGS, settings)
    return directory


def _kept(directory: Path) -> dict[str, Any] | None:
    try:
        kept: dict[str, Any] = json.loads((directory / SETTINGS).read_text())
        return kept
    except (OSError, ValueError):
        return None


def create(name: str, chosen: Path | None = None) -> Path:
    """Make `chosen`, or the next free ~/runs/NAME/N: TensorBoard reads ~/runs."""
    if chosen is not None:
        return _create_chosen(chosen)
    parent = Path.home() / "runs" / name
    for number in count(1):
        directory = parent / f"{number:03d}"
        try:
            directory.mkdir(parents=True)
        except FileExistsError:
            if parent.is_dir():
                continue
            raise RunDirectoryError(
                f"{parent} is not a directory", remedy="Move it away, or choose --out DIR."
            ) from None
        except OSError as error:
            raise _unwritable(directory, error) from error
        return directory
    raise AssertionError("count() does not end")


def _create_chosen(directory: Path) -> Path:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        taken = next(directory.iterdir(), None)
    except OSError as error:
        raise _unwritable(directory, error) from error
    if taken is not None:
        raise SettingError(
            f"--out {directory} is not empty", remedy="Choose a new directory: an earlier run is not written over."
        )
    return directory


@contextmanager
def new_directory(directory: Path) -> Iterator[Path]:
    """Where to write what will be `directory` when the block ends, and nothing if it fails.

    Raises SettingError where it is there already, RunDirectoryError where it cannot be written.
    """
    must_be_new(directory)
    partial = directory.with_name(f".{directory.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        partial.rename(directory)
    except OSError as error:
        raise _unwritable(directory, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def must_be_new(directory: Path) -> None:
    if directory.exists():
        raise SettingError(f"{directory} is there already", remedy="Choose a new directory with --out.")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write it whole or not at all."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    try:
        write_whole(path, text.encode())
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> RunDirectoryError:
    return RunDirectoryError(
        f"{path} cannot be written: {error.strerror or error}",
        remedy="Make room, or choose a directory of your own with --out DIR.",
    )
