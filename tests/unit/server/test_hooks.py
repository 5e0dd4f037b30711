from __future__ import annotations

from pathlib import Path

import pytest

from workstation.errors import HookError, SettingError
from workstation.server.hooks import DEFAULT_DIRECTORY, run_all


@pytest.fixture
def hooks(tmp_path: Path) -> Path:
    directory = tmp_path / "before-start.d"
    directory.mkdir()
    return directory


def test_hooks_run_in_the_order_of_their_names_from_the_home(hooks: Path, home: Path) -> None:
    (hooks / "20-second.sh").write_text("[[ -e first ]] && echo second >> order\n")  # [[: bash, not sh
    (hooks / "10-first.py").write_text("open('first', 'w'); open('order', 'a').write('first\\n')\n")
    (hooks / "README.md").write_text("exit 1\n")
    run_all(hooks, home)
    assert (home / "order").read_text() == "first\nsecond\n"


def test_a_hook_needs_no_executable_bit(hooks: Path, home: Path) -> None:
    (hooks / "a.sh").write_text("touch ran\n")
    (hooks / "a.sh").chmod(0o444)
    run_all(hooks, home)
    assert (home / "ran").exists()


def test_a_failing_hook_is_named_with_its_status_and_stops_the_rest(hooks: Path, home: Path) -> None:
    (hooks / "10-fails.sh").write_text("exit 3\n")
    (hooks / "20-never.sh").write_text("touch ran\n")
    with pytest.raises(HookError, match=r"10-fails\.sh failed with status 3") as raised:
        run_all(hooks, home)
    assert raised.value.exit_code == 70
    assert not (home / "ran").exists()


def test_a_killed_hook_is_named_with_its_signal(hooks: Path, home: Path) -> None:
    (hooks / "a.sh").write_text("kill -KILL $$\n")
    with pytest.raises(HookError, match=r"a\.sh was killed by SIGKILL"):
        run_all(hooks, home)


def test_a_hook_that_raises_is_named(hooks: Path, home: Path) -> None:
    (hooks / "a.py").write_text("raise SystemExit('no licence')\n")
    with pytest.raises(HookError, match=r"a\.py failed with status 1"):
        run_all(hooks, home)


def test_a_directory_that_was_asked_for_must_be_there(tmp_path: Path, home: Path) -> None:
    with pytest.raises(SettingError, match=r"WORKSTATION_HOOKS=.*nowhere cannot be read"):
        run_all(tmp_path / "nowhere", home)


def test_the_default_directory_may_be_absent(home: Path) -> None:
    assert not DEFAULT_DIRECTORY.exists(), "this test is about machines without it"
    run_all(DEFAULT_DIRECTORY, home)
