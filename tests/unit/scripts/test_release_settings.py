"""scripts/release: what it builds from, as far as that can be seen without an engine. tests/release builds for real."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

Program = Callable[[str, str], Path]

TAG, DIGEST = "nvidia/cuda:of-today", f"sha256:{'a' * 64}"
OLD_DIGEST = f"sha256:{'b' * 64}"
# A tag is here from long ago; its registry has moved on, which `docker pull` would find out.
DOCKER = f"""
case "$*" in
    "compose config"*) cat "$here/project.json" ;;
    "info "*) echo io.containerd.snapshotter ;;
    "pull "*) echo {DIGEST} >"$here/local" ;;
    "image inspect "*) echo "[\\"nvidia/cuda@$(cat "$here/local")\\"]" ;;
    "buildx bake "*) printf '{{"target": {{"workstation": {{"target": "workstation", "platforms": ["linux/amd64"],
        "args": {{"BASE_IMAGE": "%s", "BASE_DIGEST": "%s"}}, "secret": ["id=ca,src=%s"], "attest": [], "output": [],
        "context": "."}}}}}}' "$BASE_IMAGE" "$BASE_DIGEST" "$CA_BUNDLE" ;;
    "buildx build "*) echo "$@" >"$here/built"; exit 1 ;;
esac
"""


@dataclass(frozen=True)
class Release:
    """A commit to release, on an engine that notes what it is to build, and builds nothing."""

    root: Path
    engine: Path

    def arguments(self, of_compose: Mapping[str, str | None], ca: str = "/dev/null") -> list[str]:
        """`docker buildx build`'s, where Compose reads these build arguments and this CA from its settings."""
        project = {"services": {"workstation": {"build": {"args": of_compose}}}, "secrets": {"ca": {"file": ca}}}
        (self.engine / "project.json").write_text(json.dumps(project))
        command = [sys.executable, self.root / "scripts" / "release", "build", "workstation"]
        ended = subprocess.run(command, capture_output=True, text=True)
        assert ended.returncode == 69, ended.stderr
        assert ended.stderr.startswith("release: the build of workstation failed"), ended.stderr
        return (self.engine / "built").read_text().split()


@pytest.fixture
def release(checkout: Path, program: Program) -> Release:
    package = checkout / "src" / "workstation"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('__version__ = "1.2.3"\n')
    git = ["git", "-C", str(checkout), "-c", "user.name=a", "-c", "user.email=a@example.com"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "as it is"]):
        subprocess.run([*git, *command], check=True)
    engine = program("docker", DOCKER)
    (engine / "local").write_text(OLD_DIGEST)
    return Release(checkout, engine)


def test_a_tag_is_asked_for_again_and_pinned(release: Release) -> None:
    arguments = release.arguments({"BASE_IMAGE": TAG})
    assert f"BASE_IMAGE={TAG}@{DIGEST}" in arguments
    assert f"BASE_DIGEST={DIGEST}" in arguments


def test_a_base_with_its_digest_is_taken_as_it_stands(release: Release) -> None:
    """Renovate writes it so."""
    arguments = release.arguments({"BASE_IMAGE": f"{TAG}@{OLD_DIGEST}"})
    assert f"BASE_IMAGE={TAG}@{OLD_DIGEST}" in arguments
    assert f"BASE_DIGEST={OLD_DIGEST}" in arguments


def test_the_stand_in_has_no_digest(release: Release) -> None:
    arguments = release.arguments({"BASE_IMAGE": "torch-workstation-base:local"})
    assert "BASE_IMAGE=torch-workstation-base:local" in arguments
    assert "BASE_DIGEST=" in arguments


def test_the_sites_proxy_and_ca_are_the_builds(release: Release) -> None:
    of_compose = {"BASE_IMAGE": TAG, "HTTPS_PROXY": "http://me:pa$$word@proxy.example:3128", "NO_PROXY": None}
    arguments = release.arguments(of_compose, ca="/the/checkout/site.pem")
    assert "--build-arg=HTTPS_PROXY=http://me:pa$word@proxy.example:3128" in arguments
    assert "id=ca,src=/the/checkout/site.pem" in arguments
    assert not any("NO_PROXY" in argument for argument in arguments)
