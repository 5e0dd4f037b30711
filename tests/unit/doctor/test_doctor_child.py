"""Whatever a child process does, the doctor lives and can say what happened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from workstation.doctor.child import ChildError, ask

Plant = Callable[[Mapping[str, str]], Path]


def test_the_last_line_is_the_answer(plant: Plant) -> None:
    root = plant({"ask.py": "import json, sys; print('noise'); print(json.dumps({'got': sys.argv[1:]}))"})
    assert ask(root / "ask.py", "a", "b") == {"got": ["a", "b"]}


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os; os.abort()", "killed by SIGABRT"),
        ("raise ImportError('libcudart.so.13: cannot open')", "ImportError: libcudart.so.13: cannot open"),
        ("raise SystemExit(3)", "exit code 3"),
        ("print('hello')", "no answer in 'hello"),
        ("pass", "no answer"),
    ],
)
def test_a_failing_child_is_one_line(plant: Plant, code: str, words: str) -> None:
    with pytest.raises(ChildError) as caught:
        ask(plant({"ask.py": code}) / "ask.py")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_child_that_hangs_is_ended(plant: Plant) -> None:
    with pytest.raises(ChildError, match="no answer within"):
        ask(plant({"ask.py": "import signal; signal.pause()"}) / "ask.py", patience=0.5)


def test_a_neighbour_s_name_hides_no_module_of_python_s(plant: Plant) -> None:
    root = plant({"ask.py": "import json; print(json.dumps({}))", "json.py": "raise RuntimeError"})
    assert ask(root / "ask.py") == {}
