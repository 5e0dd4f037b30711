"""The code in the exercises' solutions: what a reader may paste into the notebook's next cell."""

from __future__ import annotations

import json
import re
from pathlib import Path

FOLDED = re.compile(r"<details>(.*?)</details>", re.DOTALL)
CODE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def solutions(notebook: Path) -> list[str]:
    """Each block of code in a folded solution, in the order of the notebook."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    prose = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return [code for folded in FOLDED.findall(prose) for code in CODE.findall(folded)]
