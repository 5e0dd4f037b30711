"""What Jupyter's log may say: never the token, and nothing that sounds like trouble and is none."""

from __future__ import annotations

import logging
import re

# jupyter_server blanks the token in its access log, but prints the whole address again when a page is not found.
TOKEN = re.compile(r"(\btoken=)[^&\s\"']+")
# Jupyter's own pings count in milliseconds, Tornado reads the same two numbers as seconds (jupyter_server#1612).
HARMLESS = "The websocket_ping_timeout (90000) cannot be longer than the websocket_ping_interval (30000)"


class Discretion(logging.Filter):
    """For a handler, so that it sees what every logger sends there."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        record.msg, record.args = TOKEN.sub(r"\1[secret]", message), ()
        return not message.startswith(HARMLESS)
