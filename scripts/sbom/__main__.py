"""What is in an image: its Python and Debian packages as a CycloneDX document (an SBOM).

    python scripts/sbom IMAGE OUT

IMAGE is asked itself, in a container without a network. The hashes of Python packages are those of requirements/*.txt:
run this from the commit that IMAGE was built from.
Exit codes: 0 written, 65 the image does not say what is in it, 66 the engine holds no such image, 69 no engine answers.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from document import Image, locked_hashes, sbom

ROOT = Path(__file__).resolve().parents[2]
INSIDE = Path(__file__).with_name("inside.py")
LABELS = "org.opencontainers.image."


def stop(code: int, what: str, remedy: str) -> NoReturn:
    print(f"sbom: {what}. {remedy}", file=sys.stderr)
    raise SystemExit(code)


def inspect(reference: str) -> Image:
    asked = subprocess.run(["docker", "image", "inspect", reference], capture_output=True, text=True)
    if asked.returncode != 0:
        if "No such image" in asked.stderr:
            stop(66, f"the engine holds no image {reference}", "Pull or build it first")
        stop(69, asked.stderr.strip(), "Is the engine running?")
    document = json.loads(asked.stdout)[0]
    labels: dict[str, str] = document["Config"].get("Labels") or {}
    # Docker writes nanoseconds, which Python 3.11 does not read.
    created = re.sub(r"(\.\d{6})\d*", r"\1", document["Created"])
    return Image(
        name=labels.get(f"{LABELS}title", reference),
        version=labels.get(f"{LABELS}version", ""),
        id=document["Id"],
        created=datetime.fromisoformat(created),
    )


def ask(image: Image) -> dict[str, Any]:
    command = ["docker", "run", "--rm", "--interactive", "--network", "none", "--entrypoint", "python", image.id]
    with INSIDE.open() as script:
        done = subprocess.run([*command, "-I", "-"], stdin=script, capture_output=True, text=True)
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:]
        stop(65, f"{image.name} did not say what is in it: {' '.join(last)}", "It must have `python` and dpkg")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument("out", metavar="OUT", type=Path)
    arguments = parser.parse_args()
    image = inspect(arguments.image)
    locks = [lock.read_text() for lock in sorted(ROOT.glob("requirements/*.txt"))]
    found = ask(image)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(sbom(image, found, locked_hashes(locks)))
    print(f"{arguments.out}: {len(found['python'])} Python and {len(found['debian'])} Debian packages of {image.name}")


if __name__ == "__main__":
    main()
