"""Did stripping change anything that is loaded? same_sections.py BEFORE.so AFTER.so …

Compares address, size and SHA-256 of every allocated section. Needs readelf. Exit codes: 0 all are equal, 1 one is not.
"""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

SECTION = re.compile(r"\] (\S+)\s+(\S+)\s+([0-9a-f]+) ([0-9a-f]+) ([0-9a-f]+) [0-9a-f]+\s+([A-Z]*)")


def allocated(library: Path) -> dict[str, tuple[str, str, str]]:
    """Address, size and digest by name; a section that takes no room in the file has no digest."""
    listed = subprocess.run(["readelf", "--wide", "--sections", library], check=True, capture_output=True, text=True)
    found = {}
    with library.open("rb") as file:
        for name, kind, address, offset, size, flags in SECTION.findall(listed.stdout):
            if "A" not in flags:
                continue
            file.seek(int(offset, 16))
            content = b"" if kind == "NOBITS" else file.read(int(size, 16))
            found[name] = (address, size, hashlib.sha256(content).hexdigest())
    return found


def main() -> int:
    libraries = [Path(name) for name in sys.argv[1:]]
    differ = total = 0
    for before, after in zip(libraries[::2], libraries[1::2], strict=True):
        first, second = allocated(before), allocated(after)
        others = sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))
        print(f"{after.name}: {len(first)} sections, {'equal' if not others else 'not equal: ' + ', '.join(others)}")
        differ += bool(others)
        total += len(first)
    print(f"{total} sections in {len(libraries) // 2} libraries")
    return min(differ, 1)


if __name__ == "__main__":
    sys.exit(main())
