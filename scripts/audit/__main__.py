"""Known flaws in what the image holds: Python's by OSV, Debian's or Ubuntu's by the security suite of its mirror.

    python scripts/audit [IMAGE]            default: torch-workstation:local

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
from debian_packages import debian_advisories
from python_packages import python_advisories

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements"
IN_THE_IMAGE = ("cuda", "torch", "science", "jupyter", "devel")


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
    locks = [REQUIREMENTS / f"{layer}.txt" for layer in IN_THE_IMAGE]
    questions: list[Callable[[], list[Advisory]]] = [
        lambda: python_advisories(locks),
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
