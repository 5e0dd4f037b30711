"""The isolation needs of the checks: a container is booted once a need, not once a check."""

from __future__ import annotations

from dataclasses import dataclass, replace

ARBITRARY_UID = "12345:0"  # in no image's /etc/passwd; group 0 is what Docker and OpenShift give such a user


@dataclass(frozen=True)
class Boot:
    """How to start a container in which probes run. The image's own user and network unless said otherwise."""

    name: str
    user: str | None = None
    read_only: bool = False
    offline: bool = False

    def __str__(self) -> str:
        return self.name


PLAIN = Boot("plain")
ANY_UID = Boot("any-uid", user=ARBITRARY_UID)
READ_ONLY = Boot("read-only", read_only=True)
OFFLINE = Boot("offline", offline=True)
# All three at once: an image that works here works in each alone, so that one boot answers for all.
LOCKED = replace(ANY_UID, name="locked", read_only=True, offline=True)
