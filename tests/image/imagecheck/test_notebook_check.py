"""A notebook is judged cell by cell, and what hangs in it is given up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lab import lab

from imagecheck import Outcome, Settings, judge
from imagecheck.engine.container import ProbeError


def notebook(folder: Path, *cells: str) -> Path:
    code = [{"cell_type": "code", "metadata": {}, "outputs": [], "source": cell} for cell in cells]
    path = folder / "chapter.ipynb"
    path.write_text(json.dumps({"cells": code, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return path


@pytest.mark.slow
def test_a_notebook_that_runs_to_its_end_passes(image: str, tmp_path: Path) -> None:
    """The other checks of the server pass in `make verify`."""
    path = notebook(tmp_path, "import torch\nx = torch.ones(3)", "assert x.sum() == 3")
    card = judge(image, Settings(only=("server.notebook",), require=("server.notebook",), notebook=path))
    assert card.exit_code == 0, card.results


@pytest.mark.slow
def test_a_notebook_that_raises_fails_at_its_cell(image: str, tmp_path: Path) -> None:
    path = notebook(tmp_path, "x = 1", "raise ValueError('wrong')")
    card = judge(image, Settings(only=("server.notebook",), notebook=path))
    (result,) = card.results
    assert result.outcome is Outcome.FAIL
    assert "code cell 2 of 2: ValueError: wrong" in result.finding.summary


def test_a_kernel_that_hangs_is_given_up_however_often_the_server_pings(image: str) -> None:
    with (
        lab(image, "--ServerApp.tornado_settings={'ws_ping_interval': 200}") as started,
        started.kernel() as kernel,
        pytest.raises(ProbeError, match="not done in time"),
    ):
        kernel.execute("import time; time.sleep(600)", timeout=2)
