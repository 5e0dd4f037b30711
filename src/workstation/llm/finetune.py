"""Fine-tuning a causal language model: all of its weights, or low-rank additions to them (LoRA, Hu et al. 2022).

The loop is `training.loop.fit`, like everywhere. Of an adapted model the checkpoints hold the additions alone.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.optim import AdamW
from torch.utils.checkpoint import checkpoint

from workstation.errors import DeviceError, SettingError
from workstation.llm import library
from workstation.llm.answers import Rows
from workstation.llm.data import supervised
from workstation.llm.model import IGNORED
from workstation.llm.optimizer import BETAS, schedule
from workstation.llm.pretrain import given
from workstation.llm.settings import Recipe
from workstation.training import distributed
from workstation.training.batches import Batches
from workstation.training.loop import Hook, fit
from workstation.training.settings import Settings

NAME = "finetune"
METHODS = ("lora", "full", "qlora")
LOGITS = 2**27  # of one part: in float32, with their gradient and what the loss keeps, below 2 GiB
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

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self._plain: bool | None = None  # whether its logits are what its head gives; None: not tried yet
        self.register_state_dict_post_hook(_drop_frozen)
        self.register_load_state_dict_post_hook(_allow_frozen)

    def forward(self, tokens: Tensor, positions: Tensor, targets: Tensor) -> Tensor:
        """The head computes the places that are asked for and no others: of a large vocabulary the logits are most of
        the memory. Where they are still too many, part by part, each once more for its gradient.
        """
        # A GPU comes to rest here, so it is asked before it has been given the model to compute.
        asked = (targets.flatten() != IGNORED).nonzero()[:, 0]
        answers = targets.flatten()[asked]
        parts = -(-len(asked) * self.model.config.get_text_config().vocab_size // LOGITS)
        if self._plain is None:
            self._plain = self._ends_in_its_head(tokens[:1, :2], positions[:1, :2])
        if parts > 1 and self._plain:
            states, _ = self._read(tokens, positions, lambda states: states[:, :1])  # the model wants logits of some
            pairs = zip(states.flatten(0, 1)[asked].chunk(parts), answers.chunk(parts), strict=True)
            head = self.model.get_output_embeddings()
            sums = [checkpoint(_summed, head, *pair, use_reentrant=False) for pair in pairs]
            return torch.stack(sums).sum() / len(asked)
        _, logits = self._read(tokens, positions, lambda states: states.flatten(0, 1)[asked])
        return F.cross_entropy(logits.float(), answers)

    def _ends_in_its_head(self, tokens: Tensor, positions: Tensor) -> bool:
        """Not so Gemma, which bends its logits afterwards, Cohere and Granite, which scale them.

        Every process tries it at its first call: of a sharded model all must compute, or none.
        """
        with torch.no_grad(), uncompiled():
            states, logits = self._read(tokens, positions, lambda states: states)
            return bool(torch.equal(logits, self.model.get_output_embeddings()(states).type_as(logits)))

    def _read(self, tokens: Tensor, positions: Tensor, choose: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """The states (B, T, D) that come to the head, and the model's logits of those that `choose` lets through."""
        states: list[Tensor] = []

        def let_through(_head: nn.Module, given: tuple[Tensor]) -> Tensor:
            states.append(given[0])
            return choose(given[0])

        watched = self.model.get_output_embeddings().register_forward_pre_hook(let_through)
        try:
            logits: Tensor = self.model(input_ids=tokens, position_ids=positions, use_cache=False).logits
        finally:
            watched.remove()
        return states[0], logits


def _summed(head: nn.Module, x: Tensor, answers: Tensor) -> Tensor:
    return F.cross_entropy(head(x).float(), answers, reduction="sum")


def _drop_frozen(module: nn.Module, state: dict[str, Any], prefix: str, _metadata: object) -> None:
    trained = {prefix + name for name, weight in module.named_parameters() if weight.requires_grad}
    for name in [name for name in state if name.startswith(prefix) and name not in trained]:
        del state[name]


def _allow_frozen(module: nn.Module, incompatible: Any) -> None:
    trained = {name for name, weight in module.named_parameters() if weight.requires_grad}
    incompatible.missing_keys[:] = [name for name in incompatible.missing_keys if name in trained]


def keeps_apart(model: Any, settings: Settings) -> bool:
    """Whether positions that start again at 0 are a border for this model: another neighbour then moves no logit.

    Not where an architecture makes its own mask, or reads one token after another (OPT, Falcon, Mamba in transformers
    5). How far a neighbour moves them without a border is the measure, as a GPU's sums differ in their last digits.
    """
    borders, places = (12, 20), 32
    vocabulary, draw = model.config.get_text_config().vocab_size, torch.Generator().manual_seed(0)
    tokens, others = (torch.randint(vocabulary, (2, places), generator=draw) for _ in range(2))
    for row, border in enumerate(borders):
        others[row, border:] = tokens[row, border:]
    apart = torch.stack([torch.cat([torch.arange(size), torch.arange(places - size)]) for size in borders])

    def moved(positions: Tensor) -> float:
        with torch.inference_mode(), torch.autocast(settings.device.type, torch.bfloat16, enabled=settings.amp):
            one, other = (
                model(input_ids=each.to(model.device), position_ids=positions.to(model.device), use_cache=False).logits
                for each in (tokens, others)
            )
        return max(float((one - other)[row, border:].abs().max()) for row, border in enumerate(borders))

    return moved(apart) < 0.05 * moved(torch.arange(places).expand(2, -1))


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


def four_bits(device: torch.device) -> bool:
    return device.type == "cuda" and importlib.util.find_spec("bitsandbytes") is not None


def quantisation(method: str, device: torch.device) -> Any:
    """How the frozen weights are kept for QLoRA: 4-bit NormalFloat where bitsandbytes is, else torchao's 8 bits."""
    if method != "qlora":
        return None
    transformers = library.transformers()
    if four_bits(device):
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


def compiled(model: nn.Module, backend: str | Callable[..., Any] = "inductor") -> None:
    """One graph of a layer, for all of them to call: by operations, a GPU moves fourteen times the bytes.

    What marks a layer is the class that all models of `transformers` have theirs from. What cannot be compiled is
    computed as it is written, and PyTorch says so.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    torch._dynamo.config.optimize_ddp = False
    torch._dynamo.config.suppress_errors = True
    for module in model.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.compile(backend=backend)


def uncompiled() -> Any:
    """Around a call whose shape comes once or twice: it would wait for a graph of its own."""
    return torch.compiler.set_stance("force_eager")


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
    if settings.device.type == "cuda" and tuning.method != "qlora":  # 4-bit products are no graph's
        compiled(model)
    return fit(
        model,
        Batches((rows.tokens, rows.positions, rows.targets, rows.targets), recipe.batch, settings.seed),
        given,
        moved,
        epochs=tuning.epochs,
        settings=settings,
        scheduler=schedule(moved, recipe),
        schedule="step",
        accumulate=recipe.parts(distributed.size()),
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
        mixed = torch.autocast(settings.device.type, torch.bfloat16, enabled=settings.amp)
        with torch.inference_mode(), uncompiled(), mixed:
            nats += count * float(model(*(tensor.to(settings.device) for tensor in batch)))
        asked += count
    return nats / asked


def counted_loss(train: Rows, held_out: Rows, vocabulary: int) -> float:
    """What counting gives: each token as likely as among the training answers, one added to every count."""
    counts = torch.bincount(train.targets[train.targets != IGNORED], minlength=vocabulary).double() + 1
    return float(-(counts / counts.sum()).log()[held_out.targets[held_out.targets != IGNORED]].mean())
