from __future__ import annotations

import re
from pathlib import Path

import pytest

from workstation.errors import SettingError
from workstation.server.access_token import Token


def test_a_token_is_made_up_anew_each_time_when_none_is_given() -> None:
    first, second = Token.from_environment({}), Token.from_environment({})
    assert re.fullmatch(r"[0-9a-f]{48}", first.value)
    assert first.value != second.value


def test_a_given_token_is_taken_as_it_is() -> None:
    assert Token.from_environment({"JUPYTER_TOKEN": "correct-horse"}).value == "correct-horse"


def test_an_empty_token_is_refused_with_the_way_to_say_it_aloud() -> None:
    with pytest.raises(SettingError, match="WORKSTATION_ALLOW_EMPTY_TOKEN=yes"):
        Token.from_environment({"JUPYTER_TOKEN": ""})


@pytest.mark.parametrize("answer", ["", "no"])
def test_only_yes_allows_an_empty_token(answer: str) -> None:
    with pytest.raises(SettingError, match="let anyone in"):
        Token.from_environment({"JUPYTER_TOKEN": "", "WORKSTATION_ALLOW_EMPTY_TOKEN": answer})


def test_a_misspelt_yes_is_refused_rather_than_guessed() -> None:
    with pytest.raises(SettingError, match="Say yes or no"):
        Token.from_environment({"JUPYTER_TOKEN": "", "WORKSTATION_ALLOW_EMPTY_TOKEN": "true"})


def test_an_empty_token_said_aloud_is_empty() -> None:
    assert Token.from_environment({"JUPYTER_TOKEN": "", "WORKSTATION_ALLOW_EMPTY_TOKEN": "yes"}).value == ""


def test_a_secret_is_read_without_its_line_end(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("from-a-file\n")
    token = Token.from_environment({"JUPYTER_TOKEN_FILE": str(secret)})
    assert (token.value, token.secret) == ("from-a-file", secret)


def test_two_sources_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"both set.*Compose, write `JUPYTER_TOKEN: !reset null`"):
        Token.from_environment({"JUPYTER_TOKEN": "a", "JUPYTER_TOKEN_FILE": str(tmp_path / "token")})


def test_a_missing_secret_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"nowhere cannot be read: No such file"):
        Token.from_environment({"JUPYTER_TOKEN_FILE": str(tmp_path / "nowhere")})


@pytest.mark.parametrize(("content", "reason"), [(b"", "is empty"), (b"\n", "is empty"), (b"\xff\xfe", "not text")])
def test_an_unusable_secret_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    secret = tmp_path / "token"
    secret.write_bytes(content)
    with pytest.raises(SettingError, match=reason):
        Token.from_environment({"JUPYTER_TOKEN_FILE": str(secret)})


@pytest.mark.parametrize("value", ["two words", "windows\r", "\x1b[31m"])
def test_a_token_that_a_link_would_break_on_is_refused(value: str) -> None:
    with pytest.raises(SettingError, match="JUPYTER_TOKEN holds"):
        Token.from_environment({"JUPYTER_TOKEN": value})


def test_a_token_is_not_in_its_repr() -> None:
    assert "correct-horse" not in repr(Token("correct-horse"))
