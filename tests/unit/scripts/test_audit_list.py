"""The allow-list of advisories: who may stand on it, and for how long."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "scripts" / "audit"))
from advisory import Advisory, Allowed, AuditError, allow_list, judged  # noqa: E402

sys.path.pop(0)

DAY = datetime.date(2026, 12, 31)
FLAW = Advisory("urllib3", "2.8.0", ("CVE-2026-0001", "GHSA-aaaa"), "fixed in 99.0")
ENTRY = Allowed("urllib3", "GHSA-aaaa", "not reached", DAY)
WHOLE = 'package = "a"\nid = "b"\nreason = "c"\nexpires = 2026-12-31\n'


def test_an_entry_covers_a_flaw_by_any_of_its_names_until_its_last_day() -> None:
    verdict = judged([FLAW], [ENTRY], DAY)
    assert verdict.is_clean
    assert verdict.allowed == ((FLAW, ENTRY),)


def test_an_expired_entry_fails_and_covers_nothing() -> None:
    verdict = judged([FLAW], [ENTRY], DAY + datetime.timedelta(days=1))
    assert (verdict.open, verdict.expired, verdict.is_clean) == ((FLAW,), (ENTRY,), False)


def test_an_expired_entry_fails_when_the_flaw_is_gone_too() -> None:
    assert not judged([], [ENTRY], DAY + datetime.timedelta(days=1)).is_clean


def test_an_entry_for_another_package_or_flaw_covers_nothing() -> None:
    others = [Allowed("requests", "GHSA-aaaa", "", DAY), Allowed("urllib3", "GHSA-bbbb", "", DAY)]
    verdict = judged([FLAW], others, DAY)
    assert (verdict.open, verdict.unused) == ((FLAW,), tuple(others))


def test_the_list_of_this_repository_is_read() -> None:
    assert allow_list(ROOT / "requirements" / "advisories.toml") == []


def test_a_whole_entry_is_read(tmp_path: Path) -> None:
    (tmp_path / "list.toml").write_text("[[allowed]]\n" + WHOLE)
    assert allow_list(tmp_path / "list.toml") == [Allowed("a", "b", "c", DAY)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        *[(WHOLE.replace(f"{line}\n", ""), f"missing or unknown: {line.split()[0]}") for line in WHOLE.splitlines()],
        (WHOLE + 'note = "d"', "missing or unknown: note"),
        (WHOLE.replace("2026-12-31", '"2026-12-31"'), "is no date"),
        (WHOLE.replace("2026-12-31", "2026-12-31T00:00:00"), "is no date"),
        (WHOLE.replace('"c"', '" "'), "an empty word"),
        ("package = ", "Invalid value"),
    ],
)
def test_an_entry_without_package_id_reason_or_date_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "list.toml").write_text("[[allowed]]\n" + text)
    with pytest.raises(AuditError, match=said) as refused:
        allow_list(tmp_path / "list.toml")
    assert refused.value.code == 65


def test_a_list_under_another_name_is_not_overlooked(tmp_path: Path) -> None:
    (tmp_path / "list.toml").write_text("[[allow]]\n" + WHOLE)
    with pytest.raises(AuditError, match="allow is unknown"):
        allow_list(tmp_path / "list.toml")
