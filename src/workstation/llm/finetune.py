"""Fine-tuning a causal language model: all of its weights, or low-rank additions to them (LoRA, Hu et al. 2022).

The loop is `training.loop.fit`, like everywhere. Of an adapted model the checkpoints hold the additions alone.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.optim import AdamW

from workstation.errors import DeviceError, SettingError
from workstation.llm import library
from workstation.llm.answers import Rows
from workstation.llm.data import supervised
from workstation.llm.model import IGNORED
from workstation.llm.optimizer import BETAS, schedule
from workstation.llm.pretrain import given
from workstation.llm.settings import Recipe
from workstation.training.batches import Batches
from workstation.training.loop import Hook, fit
from workstation.training.settings import Settings

NAME = "finetune"
METHODS = ("lora", "full", "qlora")
# What 4096-wide models are tuned with; a narrower one bears larger steps, in proportion.
RATES, RATES_WIDTH = {"lora": 2e-4, "qlora": 2e-4, "full": 2e-5}, 4096


@dataclass(frozen=True)
class Tuning:
    """What a person chooses; kept with the run."""

    model: str
    data: str = "docstrings"
    method: Literal["lora", "full", "qlora"] = "lora"
    rank: int = 16  # of the additions
    length: int = 512  # places of a row; never more than the model's context
    batch: int = 16  # rows of a step
    accumulate: int = 1
    epochs: int = 3
    rate: float | None = None  # None: by the method and the model's width
    recompute: bool = False  # activation checkpointing
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise SettingError(f"no method is called {self.method!r}", remedy=f"Choose one of {', '.join(METHODS)}.")

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


class AnswerLoss(nn.Module):
    """Tokens, positions, targets to the mean loss over the targets that are not IGNORED.

    Its state is what is trained: frozen weights, which may be quantised, lie where the model came from.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.register_state_dict_post_hook(_drop_frozen)
        self.register_load_state_dict_post_hook(_allow_frozen)

    def forward(self, tokens: Tensor, positions: Tensor, targets: Tensor) -> Tensor:
        logits = self.model(input_ids=tokens, position_ids=positions, use_cache=False).logits
        return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED)


def _drop_frozen(module: nn.Module, state: dict[str, Any], prefix: str, _metadata: object) -> None:
    trained = {prefix + name for name, weight in module.named_parameters() if weight.requires_grad}
    for name in [name for name in state if name.startswith(prefix) and name not in trained]:
        del state[name]


def _allow_frozen(module: nn.Module, incompatible: Any) -> None:
    trained = {name for name, weight in module.named_parameters() if weight.requires_grad}
    incompatible.missing_keys[:] = [name for name in incompatible.missing_keys if name in trained]


def adapt(model: Any, tuning: Tuning) -> Any:
    """The model with what the method trains, and the rest frozen. Draws the additions' first weights."""
    if tuning.recompute:
        model.activation_checkpointing_enable({"use_reentrant": False})
    if tuning.method == "full":
        return model.requires_grad_(True)
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    if tuning.method == "qlora":
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    # Twice the rank: the additions move at the same pace whatever their rank.
    told = LoraConfig(
        r=tuning.rank, lora_alpha=2 * tuning.rank, target_modules="all-linear", task_type="CAUSAL_LM", lora_dropout=0.0
    )
    adapted = get_peft_model(model, told)
    adapted.peft_config["default"].base_model_name_or_path = tuning.model
    return adapted


def quantisation(method: str, device: torch.device) -> Any:
    """How the frozen weights are kept for QLoRA: 4-bit NormalFloat where bitsandbytes is, else torchao's 8 bits."""
    if method != "qlora":
        return None
    transformers = library.transformers()
    if importlib.util.find_spec("bitsandbytes") is not None and device.type == "cuda":
        return transformers.BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    try:
        from torchao.quantization import Int8WeightOnlyConfig
    except ImportError as error:
        raise DeviceError(
            "qlora needs bitsandbytes and a GPU, or torchao", remedy="Install one of them, or choose lora."
        ) from error
    return transformers.TorchAoConfig(Int8WeightOnlyConfig())


def finetune(
    model: AnswerLoss, rows: Rows, tuning: Tuning, settings: Settings, hooks: Sequence[Hook] = ()
) -> list[float]:
    """Train in place; the loss of each pass over the rows. Raises DivergedError, which names the step."""
    recipe = recipe_for(tuning, len(rows), model.model.config.hidden_size)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    # Every process has read the frozen weights from the same file, and not every quantised one can be sent.
    frozen = [name for name, weight in model.named_parameters() if not weight.requires_grad]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, frozen)
    moved = AdamW(trained, lr=recipe.rate, betas=BETAS, weight_decay=recipe.decay, fused=True)
    return fit(
        model,
        Batches((rows.tokens, rows.positions, rows.targets, rows.targets), recipe.batch, settings.seed),
        given,
        moved,
        epochs=tuning.epochs,
        settings=settings,
        scheduler=schedule(moved, recipe),
        schedule="step",
        accumulate=recipe.accumulate,
        clip=recipe.clip,
        weight=supervised,
        hooks=hooks,
        name=NAME,
    )


def recipe_for(tuning: Tuning, rows: int, width: int) -> Recipe:
    """A stretch is a pass over the rows. Nothing decays: what was learnt before is no mistake to be forgotten."""
    stretch = -(-rows // tuning.batch)
    steps = tuning.epochs * stretch
    rate = tuning.rate or RATES[tuning.method] * RATES_WIDTH / width
    return Recipe(
        tuning.batch, tuning.accumulate, steps, stretch, rate, warmup=max(1, min(100, steps // 10)), decay=0.0
    )


def answer_loss(model: AnswerLoss, rows: Rows, settings: Settings, size: int = 8) -> float:
    """The mean loss of an answer's token, in nats."""
    model.to(settings.device).eval()
    nats = asked = 0.0
    for batch in zip(*(tensor.split(size) for tensor in (rows.tokens, rows.positions, rows.targets)), strict=True):
        count = supervised(batch[-1])
        if count == 0:
            continue
        with torch.inference_mode(), torch.autocast(settings.device.type, torch.bfloat16, enabled=settings.amp):
            nats += count * float(model(*(tensor.to(settings.device) for tensor in batch)))
        asked += count
    return nats / asked


def counted_loss(train: Rows, held_out: Rows, vocabulary: int) -> float:
    """What counting gives: each token as likely as among the training answers, one added to every count."""
    counts = torch.bincount(train.targets[train.targets != IGNORED], minlength=vocabulary).double() + 1
    return float(-(counts / counts.sum()).log()[held_out.targets[held_out.targets != IGNORED]].mean())
