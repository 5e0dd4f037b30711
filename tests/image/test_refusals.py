"""Bad input: one clear line, an exit code that is documented, no traceback, nothing lost."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from lab import Environment, run


@dataclass(frozen=True)
class Refusal:
    what: str
    code: int
    says: str
    environment: Environment = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)


CERTIFICATE = {"WORKSTATION_TLS_CERTIFICATE": "/nowhere.pem"}
REFUSALS = [
    Refusal("a port that is no number", 2, "JUPYTER_PORT", {"JUPYTER_PORT": "eighty"}),
    Refusal("a port out of range", 2, "65535", {"JUPYTER_PORT": "70000"}),
    Refusal("an unknown setting", 2, "WORKSTATION_BASE_URL", {"WORKSTATION_BASEURL": "/x/"}),
    Refusal(
        "a missing certificate",
        2,
        "/nowhere.pem",
        {"WORKSTATION_TLS_CERTIFICATE": "/nowhere.pem", "WORKSTATION_TLS_KEY": "/nowhere.key"},
    ),
    Refusal("half a certificate", 2, "WORKSTATION_TLS_KEY", {"WORKSTATION_TLS_CERTIFICATE": "/nowhere.pem"}),
    Refusal("a token file that is not there", 2, "/nowhere", {"JUPYTER_TOKEN_FILE": "/nowhere"}),
    Refusal("a TLS mode nobody knows", 2, "self-signed", {"WORKSTATION_TLS": "on"}),
    Refusal("a token on the command line", 2, "JUPYTER_TOKEN", arguments=("--ServerApp.token=x",)),
    Refusal("a home that cannot be written", 73, "/home/workstation", options={"read_only": True}),
    Refusal(
        "a home with no room",
        73,
        "No space left",
        options={"tmpfs": {"/home/workstation": "size=4k,mode=1777"}},
    ),
    Refusal("a command that is not there", 127, "no-such-command", arguments=("no-such-command",)),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=[refusal.what for refusal in REFUSALS])
def test_is_refused_in_one_line(image: str, refusal: Refusal) -> None:
    ended = run(image, *refusal.arguments, environment=refusal.environment, **refusal.options)
    assert ended.code == refusal.code, ended.output
    assert refusal.says in ended.output
    assert "Traceback" not in ended.output
    assert len(ended.output.strip().splitlines()) == 1, ended.output


def test_a_failing_hook_stops_the_start_and_is_named(image: str, tmp_path: Path) -> None:
    hook = tmp_path / "10-broken.sh"
    hook.write_text("echo about to fail; exit 3\n")
    tmp_path.chmod(0o755)
    ended = run(image, volumes={str(tmp_path): {"bind": "/etc/workstation/before-start.d", "mode": "ro"}})
    assert ended.code == 70
    assert "10-broken.sh" in ended.output
    assert "Traceback" not in ended.output
