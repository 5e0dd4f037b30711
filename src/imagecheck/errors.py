"""What keeps imagecheck from judging at all: one line that says what happened and what to do, and an exit code.

A fault *of the image* is never an exception: it is a check that failed.
"""

from __future__ import annotations


class ImagecheckError(Exception):
    """A failure with a remedy. The command prints it as one line and exits with `exit_code`."""

    exit_code = 70

    def __init__(self, what: str, *, remedy: str) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.what}. {self.remedy}"


class UsageError(ImagecheckError):
    """An option or a check's name that cannot be used as given."""

    exit_code = 2


class ImageNotFoundError(ImagecheckError):
    """The engine holds no such image, and pulling was not asked for or did not work."""

    exit_code = 66


class EngineError(ImagecheckError):
    """No container engine answers."""

    exit_code = 69
