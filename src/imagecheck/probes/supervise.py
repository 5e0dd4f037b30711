"""Run a probe within a time limit, from inside its container: supervise.py SECONDS PYTHON PROBE [ARGUMENT…]

Prints one JSON document: how the probe ended, its own document, and its last words. A probe that is stuck is killed
with all its children, so that nothing it started goes on using the machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

LAST_WORDS = 4000


def last_document(text: str) -> dict[str, object] | None:
    """The last line of standard output, if it is a JSON object; libraries may have printed before it."""
    try:
        document = json.loads(text.strip().rpartition("\n")[2])
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def main() -> None:
    limit, command = float(sys.argv[1]), sys.argv[2:]
    started = time.monotonic()
    timed_out = False
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, start_new_session=True
    )
    try:
        stdout, stderr = child.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        timed_out = True
        kill_group(child.pid)
        stdout, stderr = child.communicate()
    kill_group(child.pid)  # whatever the probe left behind goes with it
    report = {
        "limit": limit,
        "timed_out": timed_out,
        "exit": child.returncode,
        "seconds": round(time.monotonic() - started, 3),
        "document": None if timed_out else last_document(stdout.decode(errors="replace")),
        "stderr": stderr.decode(errors="replace")[-LAST_WORDS:],
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
