"""Does anything answer at an address? Found out in seconds: the libraries' own retries take minutes."""

from __future__ import annotations

import queue
import threading
import urllib.error
import urllib.request

PATIENCE = 3.0  # seconds


def answers(address: str, patience: float = PATIENCE) -> bool:
    """Whether anything answers there at all. In a thread of its own: looking up a name has no time limit."""
    found: queue.SimpleQueue[bool] = queue.SimpleQueue()
    threading.Thread(target=lambda: found.put(_ask(address, patience)), daemon=True).start()
    try:
        return found.get(timeout=patience)
    except queue.Empty:
        return False


def _ask(address: str, patience: float) -> bool:
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=patience).close()
    except urllib.error.HTTPError:
        return True  # a refusal is an answer
    except (OSError, ValueError):
        return False
    return True
