"""The tests take what scripts/configure chose: the base that fault images lie over, and the GPUs."""

from __future__ import annotations

from pathlib import Path

import pytest
import this_machine


@pytest.fixture(autouse=True)
def _shell_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BASE_IMAGE", raising=False)


def test_a_fault_lies_over_the_base_that_was_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text('# of mine\nPORT=8888\nBASE_IMAGE = "my/base:1"\n')
    assert this_machine.base_image(tmp_path / ".env") == "my/base:1"
    monkeypatch.setenv("BASE_IMAGE", "another/base:1")
    assert this_machine.base_image(tmp_path / ".env") == "another/base:1"


def test_where_none_was_chosen_it_is_the_dockerfiles(tmp_path: Path) -> None:
    assert this_machine.base_image(tmp_path / ".env").startswith("nvidia/cuda:")
    (tmp_path / ".env").write_text("BASE_IMAGE=\n")
    assert this_machine.base_image(tmp_path / ".env").startswith("nvidia/cuda:")


def test_a_container_gets_the_gpus_where_a_driver_is(tmp_path: Path) -> None:
    driver = tmp_path / "version"
    assert this_machine.gpus(driver) == []
    driver.touch()
    assert [request["Capabilities"] for request in this_machine.gpus(driver)] == [[["gpu"]]]
