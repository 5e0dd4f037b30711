"""The image's own Jupyter server, if it serves one."""

from __future__ import annotations

import json
from pathlib import Path

from imagecheck.bench import Bench, Blocked
from imagecheck.engine.container import ProbeError
from imagecheck.engine.jupyter import Jupyter
from imagecheck.engine.service import Service, expects_jupyter
from imagecheck.outcome import Finding, failed, passed, skipped
from imagecheck.registry import promise

TORCH_CELL = "import torch; print(torch.__version__, (torch.ones(3) @ torch.ones(3)).item())"


def jupyter(bench: Bench) -> Jupyter:
    """The server that answers. Raises Blocked where none does."""
    if bench.service.jupyter is None:
        raise Blocked("no Jupyter server answers: see server.answers")
    if bench.service.jupyter.status("api/contents", bench.service.jupyter.token) != 200:
        raise Blocked("the server takes no token: see server.token")
    return bench.service.jupyter


@promise("server.answers", "the Jupyter server that the image starts answers from outside the container")
def answers(bench: Bench) -> Finding:
    service: Service = bench.service
    if service.jupyter is not None:
        return passed(f"/api after {service.seconds:.1f} s", seconds=service.seconds)
    if not expects_jupyter(bench.image, bench.settings):
        return skipped("the image serves no Jupyter: neither its command nor its ports say so")
    if service.ended is not None:
        return failed(
            f"the container ended with code {service.ended} after {service.seconds:.1f} s",
            remedy="see its last lines; `docker run --rm -it IMAGE` shows the same",
            log=service.log,
        )
    return failed(
        f"nothing answers on /api within {service.seconds:.0f} s",
        remedy="let it listen on 0.0.0.0, not on localhost, and EXPOSE its port; or allow more with --timeout",
        log=service.log,
    )


@promise("server.token", "the server refuses a request without its token, and takes one with it")
def token(bench: Bench) -> Finding:
    server = bench.service.jupyter
    if server is None:
        raise Blocked("no Jupyter server answers: see server.answers")
    without, wrong = server.status("api/contents", None), server.status("api/contents", "0" * 32)
    if 200 in (without, wrong):
        return failed(
            f"/api/contents answers {without} without a token, {wrong} with a wrong one",
            remedy="drop --ServerApp.token='' (IdentityProvider.token=''): whoever reaches the port runs code",
        )
    right = server.status("api/contents", server.token)
    if right != 200:
        return failed(
            f"the token given in JUPYTER_TOKEN is answered with {right}, and the log prints no other",
            remedy="let the server read JUPYTER_TOKEN, or print its link with ?token=…",
            log=bench.service.log,
        )
    return passed(f"{without} without, {wrong} with a wrong one, {right} with the token")


@promise("server.kernel", "the server's default kernel runs torch over a websocket")
def kernel(bench: Bench) -> Finding:
    server = jupyter(bench)
    try:
        with server.kernel() as running:
            cell = running.execute(TORCH_CELL, timeout=bench.settings.timeout)
    except ProbeError as error:
        return failed(error.what, remedy="see the server's log for why its kernel does not start", log=error.log)
    if cell.error:
        return failed(
            f"in the kernel: {cell.error}",
            remedy="install ipykernel in the Python that has torch, and drop a kernelspec that names another Python",
            output=cell.output,
        )
    if not cell.output.strip().endswith("3.0"):
        return failed(
            f"the kernel answered {cell.output.strip()!r}", remedy="see server.answers' log; torch computes wrongly"
        )
    return passed(f"torch {cell.output.split()[0]}")


@promise("server.notebook", "the notebook given with --notebook runs from its first cell to its last in the server")
def notebook(bench: Bench) -> Finding:
    path = bench.settings.notebook
    if path is None:
        return skipped("no --notebook was given")
    cells = code_cells(path)
    with jupyter(bench).kernel() as running:
        for number, source in enumerate(cells, 1):
            cell = running.execute(source, timeout=bench.settings.timeout)
            if cell.error:
                return failed(
                    f"code cell {number} of {len(cells)}: {cell.error}",
                    remedy="run the notebook in the image and mend the cell, or install what it imports",
                    source=source,
                    output=cell.output,
                )
    return passed(f"{len(cells)} code cells of {path.name}")


def code_cells(path: Path) -> list[str]:
    """The sources of a notebook's code cells (nbformat 4)."""
    document = json.loads(path.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in document["cells"] if cell["cell_type"] == "code"]
