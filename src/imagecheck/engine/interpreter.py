"""Finding the Python that has torch in an image of which nothing is known."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping

from docker.models.containers import Container

# Where images keep a Python that is not on PATH: conda, virtual environments, NGC, docker-stacks.
PLACES = (
    "/usr/local/bin",
    "/usr/bin",
    "/opt/conda/bin",
    "/opt/venv/bin",
    "/venv/bin",
    "/app/.venv/bin",
    "/root/miniconda3/bin",
)
NAMES = ("python", "python3")
HAS_TORCH = "import importlib.util as u, sys; sys.exit(0 if u.find_spec('torch') else 3)"


def candidates(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Paths at which a Python may be: along the image's PATH first, as its own shell would look."""
    folders = [folder for folder in environment.get("PATH", "").split(":") if folder.startswith("/")]
    if "VIRTUAL_ENV" in environment:
        folders.insert(0, posixpath.join(environment["VIRTUAL_ENV"], "bin"))
    paths = (posixpath.join(folder, name) for folder in (*folders, *PLACES) for name in NAMES)
    return tuple(dict.fromkeys(paths))


def present(container: Container, paths: Iterable[str]) -> tuple[str, ...]:
    """Those of `paths` that exist in the container, which need not be running: the engine is asked, no shell."""
    return tuple(path for path in paths if _exists(container, path))


def _exists(container: Container, path: str) -> bool:
    """Only the status is asked for, which docker-py has no method for: a whole file would come with get_archive."""
    assert container.client is not None
    api = container.client.api
    url = f"{api.base_url}/v{api.api_version}/containers/{container.id}/archive"
    return bool(api.head(url, params={"path": path}).ok)


def first_with_torch(pythons: Iterable[str], has_torch: Callable[[str], bool]) -> str | None:
    """The first of `pythons` that finds torch; it need not be able to import it, for that is judged later."""
    return next(filter(has_torch, pythons), None)
