"""Every failure a user can meet: one line that says what happened and what to do, and an exit code of its own."""

from __future__ import annotations


class WorkstationError(Exception):
    """A failure with a remedy. `workstation` prints it as one line and exits with `exit_code`; no traceback."""

    exit_code = 1

    def __init__(self, what: str, *, remedy: str) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.what}. {self.remedy}"


class SettingError(WorkstationError):
    """A setting (an environment variable or a flag) that cannot be used as given."""

    exit_code = 2


class HomeError(WorkstationError):
    """The home directory cannot be written, or a file in it cannot be put there. Nothing of the user's was changed."""

    exit_code = 73


class HookError(WorkstationError):
    """A before-start hook failed; the server was not started."""

    exit_code = 70


class DeviceError(WorkstationError):
    """The device that was asked for is not there."""

    exit_code = 69
