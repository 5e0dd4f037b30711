"""What Jupyter's log may say: never the token, no line without end, no false alarm."""

from __future__ import annotations

import logging
import re

# jupyter_server blanks the token in its access log, but prints the whole address again when a page is not found.
TOKEN = re.compile(r"(\btoken=)[^&\s\"']+")
# Jupyter's own pings count in milliseconds, Tornado reads the same two numbers as seconds (jupyter_server#1612).
HARMLESS = "The websocket_ping_timeout (90000) cannot be longer than the websocket_ping_interval (30000)"

# Whoever reaches the port may ask for an address of 64 kB, and each such line stays in the container's log.
LONGEST = 2000


class Discretion(logging.Filter):
    """For a handler, so that it sees what every logger sends there."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        shown = message if len(message) <= LONGEST else f"{message[:LONGEST]}… ({len(message)} characters)"
        record.msg, record.args = TOKEN.sub(r"\1[secret]", shown), ()
        return not message.startswith(HARMLESS)
