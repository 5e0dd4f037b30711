"""What a machine that has the image OLD pulls when it asks for NEW: layer by layer, and in all.

    python scripts/repull OLD NEW

Each is an OCI tar (`make release`), an image of the engine, or a registry's. Between two that are packed, the sizes
are those that are sent; a layer of the engine's is weighed as a release would pack it, which takes its time.
Exit codes: 0 told, 65 it cannot be compared, 66 there is no such image.
"""

from __future__ import annotations

import argparse
import sys

from layers import Image, Layer, RepullError, find, weighed


def pulled(old: Image, new: Image) -> tuple[Image, list[Layer]]:
    """`new`, its sizes known, and those of its layers that `old` has not."""

    def key(layer: Layer) -> str:
        return layer.digest if layer.digest and old.is_packed and new.is_packed else layer.unpacked

    had = {key(layer) for layer in old.layers}
    missing = {layer.unpacked for layer in new.layers if key(layer) not in had}
    if not new.is_packed:
        new = weighed(new, missing)
    return new, [layer for layer in new.layers if layer.unpacked in missing]


def report(new: Image, missing: list[Layer]) -> list[str]:
    lines = []
    for layer in new.layers:
        verdict = f"{_megabytes(layer):>10} MB" if layer in missing else f"{'kept':>13}"
        lines.append(f"{verdict}  {layer.made_by[:90]}")
    total = sum(layer.size or 0 for layer in missing)
    return [*lines, f"{total / 1e6:.2f} MB in {len(missing)} of {len(new.layers)} layers"]


def _megabytes(layer: Layer) -> str:
    return f"{(layer.size or 0) / 1e6:.2f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", metavar="OLD")
    parser.add_argument("new", metavar="NEW")
    arguments = parser.parse_args()
    try:
        print("\n".join(report(*pulled(find(arguments.old), find(arguments.new)))))
    except RepullError as error:
        print(f"repull: {error}", file=sys.stderr)
        return error.code
    return 0


if __name__ == "__main__":
    sys.exit(main())
