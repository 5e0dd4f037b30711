"""Security updates of Debian or Ubuntu that are out and not in the image, by apt in the image itself."""

from __future__ import annotations

import os
import re
import subprocess

from advisory import Advisory, AuditError

# Error-Mode: without it, apt takes what it has when a source does not answer, and nothing is found.
ASK = """
set -eu
apt-get -qq -o APT::Update::Error-Mode=any update
apt-get indextargets --format 'suite $(RELEASE)' 'Created-By: Packages'
apt-get --simulate --quiet=2 dist-upgrade
"""
UPDATE = re.compile(r"^Inst (\S+) \[(\S+)\] \((\S+) (.*) \[\S+\]\)", re.MULTILINE)


def debian_advisories(image: str) -> list[Advisory]:
    """Needs the image's own package mirror. What no update mends yet is not among them.

    Raises:
        AuditError: the image has no security suite, or it does not answer (69).
    """
    command = ["docker", "run", "--rm", "--user", "0", *_proxies(), "--entrypoint", "sh", image, "-c", ASK]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise AuditError(f"apt got no answer in {image}: {last}", "It needs its mirror: proxy? network?", 69)
    if not re.search(r"^suite \S+-security", done.stdout, re.MULTILINE):
        raise AuditError(f"{image} names no security suite in its apt sources", "It would never learn of a fix", 69)
    return [
        Advisory(package, installed, (update,), f"is in {origin}: build the image anew")
        for package, installed, update, origin in UPDATE.findall(done.stdout)
        if "security" in origin.lower()
    ]


def _proxies() -> list[str]:
    """apt reads the lower-case names alone."""
    found = {name: os.environ.get(name) or os.environ.get(name.upper()) for name in ("http_proxy", "https_proxy")}
    return [word for name, value in found.items() if value for word in ("--env", f"{name}={value}")]
