"""Where each byte of the image is: as files, and as a registry would send them."""

from __future__ import annotations

import json
import re
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import zstandard
from engine import IMAGE, NAIVE, RECIPES, build, output
from measured import Promise, Section
from rich.console import Console

STAGES = ("cuda", "torch", "science", "jupyter", "code")  # in the Dockerfile's order of COPY --link
CHUNK = 1 << 20
ZSTD_LEVEL = 9  # as a release is packed
console = Console(stderr=True)


@dataclass(frozen=True)
class Layer:
    """Bytes: as files, and as a registry would send them."""

    made_by: str
    unpacked: int
    gzip: int
    zstd: int


def layers(image: str) -> Iterator[Layer]:
    """Base first, from one `docker save`; nothing is compressed to disk."""
    with tempfile.TemporaryFile() as saved:
        subprocess.run(["docker", "save", image], check=True, stdout=saved)
        saved.seek(0)
        with tarfile.open(fileobj=saved) as archive:
            manifest = json.loads(read(archive, "manifest.json"))[0]
            history = json.loads(read(archive, manifest["Config"]))["history"]
            makers = [entry.get("created_by") or "the base image" for entry in history if not entry.get("empty_layer")]
            for name, maker in zip(manifest["Layers"], makers, strict=True):
                yield measure_layer(archive, name, maker)


def read(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None, name
    return file.read()


def measure_layer(archive: tarfile.TarFile, name: str, maker: str) -> Layer:
    gzip, zstd = zlib.compressobj(6, wbits=31), zstandard.ZstdCompressor(level=ZSTD_LEVEL).compressobj()
    unpacked = gzip_bytes = zstd_bytes = 0
    file = archive.extractfile(name)
    assert file is not None, name
    while chunk := file.read(CHUNK):
        unpacked += len(chunk)
        gzip_bytes += len(gzip.compress(chunk))
        zstd_bytes += len(zstd.compress(chunk))
    console.print(f"  {unpacked / 1e6:8.1f} MB  {maker[:80]}")
    return Layer(maker, unpacked, gzip_bytes + len(gzip.flush()), zstd_bytes + len(zstd.flush()))


# What a builder puts before a RUN line's own words: the number of its arguments, those, and the shell.
RUN = r"^RUN (\|\d+ (\w+=\S* )*)?/bin/\S+( -\S+)*( pipefail -c)? "


def named(measured: Sequence[Layer]) -> list[tuple[str, Layer]]:
    stages = iter(STAGES)
    names = []
    for layer in measured:
        if layer.made_by.startswith("COPY /layer/"):
            names.append(next(stages))
        else:
            names.append(re.sub(RUN, "", " ".join(layer.made_by.split()))[:48].replace("|", "\\|"))
    return list(zip(names, measured, strict=True))


def measure_sizes(_: int) -> Section:
    build(RECIPES, NAIVE, dockerfile=RECIPES / "naive.Dockerfile")
    table = [f"| layer | unpacked MB | gzip -6 MB | zstd -{ZSTD_LEVEL} MB |", "| --- | ---: | ---: | ---: |"]
    totals = {}
    for image in (IMAGE, NAIVE):
        console.print(image)
        measured = named(list(layers(image)))
        big = [(name, layer) for name, layer in measured if layer.unpacked > CHUNK or name == "code"]
        table.append(f"| **{image}** | | | |")
        table += [f"| {n} | {x.unpacked / 1e6:.1f} | {x.gzip / 1e6:.1f} | {x.zstd / 1e6:.1f} |" for n, x in big]
        total = Layer("", *(sum(getattr(x, f) for _, x in measured) for f in ("unpacked", "gzip", "zstd")))
        table.append(f"| sum | {total.unpacked / 1e6:.1f} | {total.gzip / 1e6:.1f} | {total.zstd / 1e6:.1f} |")
        totals[image] = total
    ours, naive = totals[IMAGE], totals[NAIVE]
    table.append(
        "| ours ÷ naive | "
        + " | ".join(f"{getattr(ours, how) / getattr(naive, how):.2f}" for how in ("unpacked", "gzip", "zstd"))
        + " |"
    )
    unpacked = json.loads(output("docker", "image", "inspect", IMAGE))[0]["Size"]
    return Section(
        "Where each byte is",
        table,
        [
            Promise("the whole stack, unpacked", f"{unpacked / 1e9:.2f} GB", "≤ 6.7 GB", unpacked <= 6.7e9),
            Promise("the whole stack, to pull", f"{ours.zstd / 1e9:.2f} GB", "≤ 3.1 GB", ours.zstd <= 3.1e9),
        ],
    )
