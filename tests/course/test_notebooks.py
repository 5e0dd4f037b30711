"""Every notebook of the course runs through the server, from its first cell to its last, as a learner runs it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import Lab, lab
from solutions import solutions

from imagecheck.checks.server import code_cells

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
CELL_DEADLINE_S = 300


@pytest.fixture(scope="session")
def running(image: str) -> Iterator[Lab]:
    """Each worker of pytest has a Lab, and the Labs share the cores: a thread too many costs more than it does."""
    labs = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    threads = max(1, len(os.sched_getaffinity(0)) // labs)
    with lab(image, shm_size="1g", environment={"OMP_NUM_THREADS": str(threads)}) as started:
        yield started


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_runs_the_last_keeps_its_promise_and_the_solutions_are_true(running: Lab, notebook: Path) -> None:
    cells, solved = code_cells(notebook), solutions(notebook)
    assert "assert " in cells[-1]
    with running.kernel() as kernel:
        for number, source in enumerate(cells + solved, 1):
            cell = kernel.execute(source, timeout=CELL_DEADLINE_S)
            place = f"code cell {number}" if number <= len(cells) else f"solution {number - len(cells)} in code"
            assert not cell.error, f"{place}:\n{source}\n{cell.error}\n{cell.output}"


def test_a_failing_cell_is_noticed(running: Lab) -> None:
    with running.kernel() as kernel:
        assert kernel.execute("assert result.holds()", timeout=CELL_DEADLINE_S).error.startswith("NameError")
