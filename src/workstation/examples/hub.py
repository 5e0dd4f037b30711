"""Can a model of the Hugging Face Hub be had? Found out in seconds: the libraries' own retries take minutes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants, try_to_load_from_cache

from workstation import network
from workstation.errors import WorkstationError

LARGE = "google-bert/bert-base-multilingual-cased"  # what chapter 22 takes by name in place of its tiny one
WEIGHTS = ("model.safetensors", "pytorch_model.bin")


class ModelError(WorkstationError):
    """A model that was asked for by name is not here and cannot be fetched."""

    exit_code = 69


@dataclass(frozen=True)
class Located:
    """What `from_pretrained` takes: a name or a folder, and whether it needs the network."""

    name: str
    local: bool


def locate(name: str) -> Located:
    """A folder, a model in the cache, or one of the Hub where that answers; ModelError where it is none of these."""
    if (Path(name) / "config.json").is_file() or any(_cached(name, file) for file in WEIGHTS):
        return Located(name, local=True)
    download = f"Where there is a network, `hf download {name}` fetches it for later."
    if constants.HF_HUB_OFFLINE:
        raise ModelError(f"{name} is not on this machine, and HF_HUB_OFFLINE forbids to fetch it", remedy=download)
    if not network.answers(constants.ENDPOINT):
        raise ModelError(f"{name} is not on this machine, and {constants.ENDPOINT} does not answer", remedy=download)
    return Located(name, local=False)


def _cached(name: str, file: str) -> bool:
    try:
        return isinstance(try_to_load_from_cache(name, file), str)
    except ValueError:  # a name that the Hub could not have
        return False
