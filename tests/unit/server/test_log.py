from __future__ import annotations

import io
import logging

import pytest

from workstation.server.log import HARMLESS, LONGEST, Discretion


@pytest.fixture
def logged() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def log(logged: io.StringIO) -> logging.Logger:
    handler = logging.StreamHandler(logged)
    handler.addFilter(Discretion())
    logger = logging.Logger("server")
    logger.addHandler(handler)
    return logger


def test_a_token_in_an_address_is_blanked(log: logging.Logger, logged: io.StringIO) -> None:
    log.warning("%d GET %s: No such file", 404, "/api/nothing?a=1&token=t0k&b=2")
    assert logged.getvalue() == "404 GET /api/nothing?a=1&token=[secret]&b=2: No such file\n"


def test_other_lines_are_left_as_they_are(log: logging.Logger, logged: io.StringIO) -> None:
    log.warning("100% of tokenizer=fast and {braces}")
    assert logged.getvalue() == "100% of tokenizer=fast and {braces}\n"


def test_a_warning_about_nothing_is_not_printed(log: logging.Logger, logged: io.StringIO) -> None:
    log.warning("%s.\n    Setting websocket_ping_timeout=30000", HARMLESS)
    assert logged.getvalue() == ""


def test_a_line_without_end_is_cut_and_says_so(log: logging.Logger, logged: io.StringIO) -> None:
    log.warning("404 GET /%s", "x" * 60_000)
    assert len(logged.getvalue()) < LONGEST + 50
    assert "60009 characters" in logged.getvalue()


def test_a_cut_inside_a_token_shows_none_of_it(log: logging.Logger, logged: io.StringIO) -> None:
    log.warning("404 GET /%s?token=t0k%s", "x" * (LONGEST - 20), "n" * 60)
    assert "t0k" not in logged.getvalue()
