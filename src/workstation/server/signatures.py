"""Which notebooks this person trusts, kept so that a full disk cannot make the others unreadable."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from jupyter_core.paths import jupyter_data_dir
from nbformat.sign import SQLiteSignatureStore


class Signatures(SQLiteSignatureStore):
    """Jupyter's own store. It notes when it last saw a notebook, so even opening one writes; a disk without room then
    answered 500 to opening and hid the reason from saving. Here a signature that cannot be kept is not kept: the
    notebook opens, and its plots with scripts in them want to be run again."""

    @classmethod
    def of_this_person(cls) -> Signatures:
        return cls(str(Path(jupyter_data_dir()) / "nbsignatures.db"))

    def check_signature(self, digest: str, algorithm: str) -> bool:
        try:
            return bool(super().check_signature(digest, algorithm))  # type: ignore[no-untyped-call]
        except sqlite3.OperationalError as error:
            self.log.warning("notebook signatures cannot be read: %s", error)
            return False

    def store_signature(self, digest: str, algorithm: str) -> None:
        try:
            super().store_signature(digest, algorithm)  # type: ignore[no-untyped-call]
        except sqlite3.OperationalError as error:
            self.log.warning("a notebook's signature cannot be kept: %s", error)
