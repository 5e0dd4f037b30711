"""Known flaws in what the image holds: Python's by OSV, Debian's or Ubuntu's by the security suite of its mirror.

    python scripts/audit [IMAGE]            default: torch-workstation:local

A registry's image is asked about by the SBOM attached to it, another by this checkout's locks; the first line says
which. The Hub's lock and those of the deployments' tests are asked about beside it: no image holds them.
What we live with for a while is in requirements/advisories.toml, each entry with a reason and a last day.
Exit codes: 0 none but those, 1 another one, or an entry is over, 65 that file is not as it must be,
69 one of the two could not be asked: what the other knows is printed all the same.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Callable
from pathlib import Path

from advisory import Advisory, AuditError, Verdict, allow_list, judged
from attached_sbom import NoSbomError, attached_pins
from debian_packages import debian_advisories
from python_packages import Pin, locked, python_advisories

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "requirements"
LAYERS = ("cuda", "torch", "science", "jupyter", "devel")
IN_THE_IMAGE = [REQUIREMENTS / f"{layer}.txt" for layer in LAYERS]
BESIDE_IT = [
    ROOT / "deploy" / "jupyterhub" / "requirements.txt",
    *sorted((ROOT / "tests" / "deploy" / "tools").glob("*.txt")),
]


def pins_of(image: str) -> set[Pin]:
    """What OSV is asked about; it is told at once, for a list that is another's would be no all-clear."""
    try:
        inside, by = attached_pins(image), f"the SBOM attached to {image}"
    except NoSbomError as reason:
        inside, by = locked(IN_THE_IMAGE), f"this checkout's locks: {reason}"
    beside = locked(BESIDE_IT)
    print(f"asked     {len(inside)} Python packages by {by}; {len(beside - inside)} more of deploy/ and its tests")
    return inside | beside


def report(verdict: Verdict) -> list[str]:
    return [
        *(f"advisory  {each}" for each in verdict.open),
        *(f"expired   {each}" for each in verdict.expired),
        *(f"allowed   {each}  [until {entry.expires}: {entry.reason}]" for each, entry in verdict.allowed),
        *(f"unused    {each}" for each in verdict.unused),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", metavar="IMAGE", nargs="?", default="torch-workstation:local")
    parser.add_argument("--allowed", type=Path, default=REQUIREMENTS / "advisories.toml", help="another list")
    arguments = parser.parse_args()
    questions: list[Callable[[], list[Advisory]]] = [
        lambda: python_advisories(pins_of(arguments.image)),
        lambda: debian_advisories(arguments.image),
    ]
    found: list[Advisory] = []
    code = 0
    try:
        entries = allow_list(arguments.allowed)
    except AuditError as error:
        print(f"audit: {error}", file=sys.stderr)
        return error.code
    for ask in questions:
        try:
            found += ask()
        except AuditError as error:
            print(f"audit: {error}", file=sys.stderr)
            code = error.code
    verdict = judged(found, entries, datetime.datetime.now(datetime.UTC).date())
    print("\n".join([*report(verdict), f"advisories: {len(verdict.open)}, allowed: {len(verdict.allowed)}"]))
    return code if verdict.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
