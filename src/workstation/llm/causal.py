"""A causal language model as `transformers` knows it, wherever it lies: a run of ours, a directory, or the hub.

Fine-tuning, evaluation, samples, export and the server take their model from here: what one takes, all of them take.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from workstation.doctor import cgroup
from workstation.doctor.units import size
from workstation.errors import SettingError, WorkstationError
from workstation.llm import hub, library
from workstation.llm.memory import MemoryTooSmallError, usable
from workstation.training.device import describe, memory

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Precision = Literal["auto", "float32", "bfloat16"]  # auto: as it was kept
Check = Callable[[int], None] | None
TUNED = "model"  # where `finetune` keeps its result, inside its run's directory
ADAPTER, CONFIG = "adapter_config.json", "config.json"
UNBOUNDED = 2048  # tokens: what is read of a model that sets no bound, as Bloom and Mamba do


class ModelError(WorkstationError):
    """A directory says that it holds a model, and it cannot be loaded."""

    exit_code = 65


@dataclass(frozen=True)
class Causal:
    """A model with the tokenizer that belongs to it."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    @property
    def context(self) -> int:
        """Tokens it can read at once, the answer included."""
        told = getattr(self.model.config, "max_position_embeddings", None)
        return int(told or min(self.tokenizer.model_max_length, UNBOUNDED))


def load(
    name: str,
    device: torch.device,
    *,
    dtype: Precision = "auto",
    quantisation: Any = None,
    check: Check = None,
) -> Causal:
    """The model that `name` means, in evaluation mode on `device`.

    A directory of `pretrain` or `finetune`, one that `save_pretrained` wrote (a model or a PEFT adapter), or a name on
    the hub. `quantisation`: a configuration of transformers', for how weights are kept as they are read.
    `check` is called with the number of weights before any is read, and raises where they will not fit; left out, the
    weights alone must.
    Raises SettingError for a directory that holds none of these, HubError in seconds where the hub is not reached.
    """
    try:
        return _load(name, device, dtype, quantisation, check or room(device, dtype))
    except torch.OutOfMemoryError as error:  # it was counted, and others took it meanwhile
        raise MemoryTooSmallError(
            f"{name} does not fit the memory that is free of {describe(device)}",
            remedy="See with nvidia-smi who has the rest, or choose --device cpu.",
        ) from error


def precision(device: torch.device) -> Precision:
    """What a model is read in to be used: half the memory on a GPU, what any CPU multiplies elsewhere."""
    return "bfloat16" if device.type == "cuda" else "float32"


def room(device: torch.device, dtype: Precision) -> Check:
    """A `check` that raises MemoryTooSmallError where the weights alone do not fit."""
    there: int | None
    if device.type == "cuda":
        there, where = memory(device), describe(device)
    else:
        there, where = cgroup.memory_limit() or cgroup.memory_total(), "this machine"
    if there is None:
        return None
    given, each = usable(there), 4 if dtype == "float32" else 2  # bytes of a weight, at least

    def check(parameters: int) -> None:
        if parameters * each > given:
            raise MemoryTooSmallError(
                f"{parameters:,} weights take {size(parameters * each)}, and {where} has {size(given)} to give",
                remedy="Choose a smaller model, or a larger machine.",
            )

    return check


def is_kept_whole(name: str) -> bool:
    """Whether its files are the model as it is computed with: no adapter to be merged, no run of `pretrain`."""
    directory = _directory(name)
    return not directory.is_dir() or ((directory / CONFIG).is_file() and not (directory / ADAPTER).is_file())


def _directory(name: str) -> Path:
    tuned = Path(name) / TUNED
    return tuned if tuned.is_dir() else Path(name)


def _load(name: str, device: torch.device, dtype: Precision, quantisation: Any, check: Check) -> Causal:
    directory = _directory(name)
    if (directory / ADAPTER).is_file():
        return _with_adapter(name, directory, device, dtype, check)
    if directory.is_dir() and not (directory / CONFIG).is_file():
        if quantisation is not None:
            raise SettingError(
                f"the run in {name} cannot be quantised as it is",
                remedy=f"Export it first: workstation llm export {name} --out DIR.",
            )
        return _of_run(name, directory, device, dtype, check)
    if not directory.is_dir() and (directory.is_absolute() or name.startswith(".") or name.count("/") > 1):
        raise SettingError(f"{name} is no directory, and no name on the hub", remedy="Check the path.")
    return _of_transformers(str(directory), device, dtype, quantisation, check)


def _of_run(name: str, directory: Path, device: torch.device, dtype: Precision, check: Check) -> Causal:
    from workstation.llm.export import as_llama, as_transformers
    from workstation.llm.run import Run

    run = Run.stopped(directory, torch.device("cpu"))
    if check is not None:
        check(run.preset.shape.parameters)
    model = as_llama(run.trained()).to(device)
    if dtype != "auto":
        model = model.to(getattr(torch, dtype))
    return Causal(name, model, as_transformers(run.tokenizer, run.preset.shape.context))


def _with_adapter(name: str, directory: Path, device: torch.device, dtype: Precision, check: Check) -> Causal:
    library.transformers()
    from peft import PeftModel

    try:
        below = json.loads((directory / ADAPTER).read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{directory / ADAPTER} names no model to adapt", remedy="Fine-tune it again.") from error
    base = _load(below, device, dtype, None, check)
    try:
        # Else PEFT chooses a device of its own, a GPU where there is one.
        model = PeftModel.from_pretrained(base.model, directory, torch_device=str(device)).to(device)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # of the weights' file, the configuration or the shapes: each of another class
        raise ModelError(
            f"the adapter in {directory} does not fit {below}: {_first_line(error)}",
            remedy="Name the adapter's own base in adapter_config.json, or fine-tune it again.",
        ) from error
    return Causal(name, model.eval(), _tokenizer(str(directory)))


def _of_transformers(name: str, device: torch.device, dtype: Precision, quantisation: Any, check: Check) -> Causal:
    online, transformers = hub.settle(), library.transformers()
    try:
        told = transformers.AutoConfig.from_pretrained(name)
        if check is not None and getattr(told, "quantization_config", None) is None:  # else smaller than it looks
            with torch.device("meta"):
                check(transformers.AutoModelForCausalLM.from_config(told).num_parameters())
        model = transformers.AutoModelForCausalLM.from_pretrained(
            name, dtype=dtype, quantization_config=quantisation, device_map={"": device}
        )
        return Causal(name, model.eval(), _tokenizer(name))
    except (WorkstationError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # transformers raises OSError, ValueError, KeyError, and what safetensors raises
        if Path(name).is_dir():
            raise ModelError(
                f"{name} cannot be loaded: {_first_line(error)}", remedy="Copy or export it again."
            ) from error
        raise hub.unavailable("model", name, online, error) from error


def _tokenizer(name: str) -> PreTrainedTokenizerBase:
    tokenizer: PreTrainedTokenizerBase = library.transformers().AutoTokenizer.from_pretrained(name)
    return tokenizer


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
