"""The Hugging Face hub: asked when it can be, left alone when it cannot, and never waited for in the dark."""

from __future__ import annotations

import os
import sys
from typing import Any

from workstation import network
from workstation.errors import WorkstationError

OFFLINE = "HF_HUB_OFFLINE"
READ = ("huggingface_hub.constants", "datasets.config")  # what keeps the variable as it was at their import


class HubError(WorkstationError):
    """Something of the hub is needed, it is not in the cache, and the hub does not answer or does not have it."""

    exit_code = 69


def settle() -> bool:
    """Decide once whether the hub can be asked: HF_HUB_OFFLINE is honoured, and set where nothing answers.

    The libraries read the variable when they are imported, which a notebook may have done before: they are told too.
    Otherwise they would ask a hub that does not answer, again and again, for most of a minute.
    """
    if OFFLINE not in os.environ:
        os.environ[OFFLINE] = "0" if network.answers(os.environ.get("HF_ENDPOINT", "https://huggingface.co")) else "1"
    online = os.environ[OFFLINE].upper() not in {"1", "ON", "YES", "TRUE"}
    if not online:
        for name in READ:
            if name in sys.modules:
                setattr(sys.modules[name], OFFLINE, True)
    return online


def dataset(repository: str, configuration: str | None = None) -> Any:
    """The training split, from the cache where it is there. HubError in seconds where it cannot be had."""
    online = settle()
    from datasets import load_dataset

    try:
        return load_dataset(repository, configuration, split="train")
    except Exception as error:  # the hub's client raises a score of classes; each has its reason in its text
        raise unavailable("data set", repository, online, error) from error


def unavailable(kind: str, repository: str, online: bool, error: Exception) -> HubError:
    """What to say when `repository` cannot be had."""
    if online:
        reason = str(error).strip().split("\n")[0]
        return HubError(f"the hub does not give the {kind} {repository}: {reason}", remedy="Check its name on the hub.")
    kind_flag = "--repo-type dataset " if kind == "data set" else ""
    return HubError(
        f"the {kind} {repository} is not in the cache, and the hub is off or does not answer",
        remedy=f"Connect this machine (HTTPS_PROXY or HF_ENDPOINT may be needed; unset {OFFLINE}), "
        f"or run `hf download {kind_flag}{repository}` elsewhere and copy $HF_HOME here.",
    )
