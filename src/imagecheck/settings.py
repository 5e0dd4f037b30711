"""Every choice a user makes, as data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from imagecheck.errors import UsageError

UNITS = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


class Gpu(StrEnum):
    """AUTO: use the GPUs the host has. REQUIRE: none is a failure. OFF: hide them."""

    AUTO = "auto"
    REQUIRE = "require"
    OFF = "off"


def parse_size(text: str) -> int:
    """Bytes from `1g`, `512m`, `65536`, as `docker run --shm-size` reads them.

    Raises:
        UsageError: the text is no size.
    """
    plain = text.strip().lower().removesuffix("ib")
    unit = plain[-1:] if plain[-1:].isalpha() else ""
    number = plain.removesuffix(unit)
    if unit not in UNITS or not number.isdigit():
        raise UsageError(f"{text!r} is not a size", remedy="Write it as docker does: 512m, 1g")
    return int(number) * UNITS[unit]


@dataclass(frozen=True)
class Settings:
    """How to judge. `only`, `deselect` and `require` hold check ids or groups (`cudnn`, `cudnn.pinned`)."""

    only: tuple[str, ...] = ()
    deselect: tuple[str, ...] = ()
    require: tuple[str, ...] = ()
    gpu: Gpu = Gpu.AUTO
    gpus: int | None = None  # how many the image must see; None: as many as the host has
    timeout: float = 180.0  # seconds a probe may take; torch.compile needs 20 on two idle cores, 120 on two busy ones
    shm_size: int = 1024**3  # bytes of /dev/shm given to the container
    max_size: int = 16 * 1024**3  # bytes the image may unpack to
    start_limit: float = 60.0  # seconds the image's own server may take to answer
    stop_limit: float = 10.0  # seconds between SIGTERM and the end; Docker itself kills after 10
    server_port: int | None = None  # None: the ports the image exposes, and 8888
    notebook: Path | None = None
    keep: bool = False
    pull: bool = False
    engine: str = "docker"
