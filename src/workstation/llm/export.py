"""A model leaves this program: as a Hugging Face directory that anything which knows Llama loads, and as ONNX.

The decoder is Llama's, its rotary pairs too (first half, second half), so weights are renamed, never permuted. Rows
of the tables above the vocabulary, there for a GPU's tiles, stay behind: no token that does not exist can be sampled.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from workstation.errors import WorkstationError
from workstation.llm import library
from workstation.llm.causal import Causal
from workstation.llm.model import Decoder
from workstation.llm.settings import Shape
from workstation.llm.tokens import ASSISTANT, BOS, END, PAD, SPECIAL, USER, Tokenizer
from workstation.training.rundir import new_directory

if TYPE_CHECKING:
    from transformers import LlamaConfig, PreTrainedModel, PreTrainedTokenizerBase

ONNX = "model.onnx"
ONE_FILE = 250_000_000  # parameters: Protobuf ends at 2 GB
TOLERANCE = 1e-4  # between PyTorch's logits and onnxruntime's: sums in another order
# Ours, then transformers': of a layer, and of the whole.
LAYER = {
    "attention_norm": "input_layernorm",
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.output": "self_attn.o_proj",
    "feed_norm": "post_attention_layernorm",
    "feed.gate": "mlp.gate_proj",
    "feed.up": "mlp.up_proj",
    "feed.down": "mlp.down_proj",
}
WHOLE = {"embedding": "model.embed_tokens", "norm": "model.norm", "head": "lm_head"}
# The turns of a conversation, each behind the token of who speaks; an answer is closed by END.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}"
    f"{SPECIAL[ASSISTANT]}{{{{ message['content'] }}}}{{{{ eos_token }}}}"
    f"{{% else %}}{SPECIAL[USER]}{{{{ message['content'] }}}}{{% endif %}}{{% endfor %}}"
    f"{{% if add_generation_prompt %}}{SPECIAL[ASSISTANT]}{{% endif %}}"
)


@dataclass(frozen=True)
class Rounding:
    """What a merged model's precision takes from the adapter's logits, which were computed in float32."""

    precision: torch.dtype
    apart: float
    largest: float  # of the logits
    same: float  # share of the places whose likeliest token stays

    def __str__(self) -> str:
        precision = str(self.precision).removeprefix("torch.")
        return (
            f"the adapter's logits rounded to {precision}: up to {self.apart:.2g} off, of {self.largest:.3g}; "
            f"the likeliest token is the same at {self.same:.1%} of the places"
        )


class ExportError(WorkstationError):
    """What was written is not what the model computes. Nothing is left of it."""

    exit_code = 70


def as_llama(model: Decoder) -> PreTrainedModel:
    """The same weights as a LlamaForCausalLM on the CPU, in their own precision."""
    weights = {name: weight.detach().cpu() for name, weight in renamed(model).items()}
    precision = next(iter(weights.values())).dtype
    llama: PreTrainedModel = library.transformers().LlamaForCausalLM.from_pretrained(
        None, config=configuration(model.shape), state_dict=weights, dtype=precision
    )
    return llama.eval()


def configuration(shape: Shape) -> LlamaConfig:
    found: LlamaConfig = library.transformers().LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=shape.context,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_base},
        tie_word_embeddings=shape.tied,
        bos_token_id=BOS,
        eos_token_id=END,
        pad_token_id=PAD,
    )
    return found


def renamed(model: Decoder) -> dict[str, Tensor]:
    """The weights by transformers' names, tables cut to the tokens that exist."""
    names = {ours: theirs for ours, theirs in WHOLE.items() if ours != "head" or model.head is not None}
    for layer in range(model.shape.layers):
        names |= {f"blocks.{layer}.{ours}": f"model.layers.{layer}.{theirs}" for ours, theirs in LAYER.items()}
    weights = {f"{names[name.removesuffix('.weight')]}.weight": weight for name, weight in model.named_parameters()}
    for table in ("model.embed_tokens.weight", "lm_head.weight"):
        if table in weights:
            weights[table] = weights[table][: model.shape.vocabulary]
    return weights


def as_transformers(tokenizer: Tokenizer, context: int) -> PreTrainedTokenizerBase:
    """The same merges as transformers' tokenizer, which puts BOS before a text by itself."""
    import tokenizers
    from tokenizers.processors import TemplateProcessing

    backend = tokenizers.Tokenizer.from_str(tokenizer.backend.to_str())
    backend.post_processor = TemplateProcessing(single=f"{SPECIAL[BOS]} $A", special_tokens=[(SPECIAL[BOS], BOS)])
    fast: PreTrainedTokenizerBase = library.transformers().PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=SPECIAL[BOS],
        eos_token=SPECIAL[END],
        pad_token=SPECIAL[PAD],
        model_max_length=context,
        clean_up_tokenization_spaces=False,  # " ." is not "." in code
    )
    return fast


def export(causal: Causal, directory: Path, *, onnx: bool = False) -> Rounding | None:
    """Write `directory`, which must not exist: config.json, model.safetensors, the tokenizer's files; ONNX when asked.

    An adapter is merged into its model; what the model's precision then rounds away is returned. Raises ExportError
    where merging changes the logits, or what was written does not give the same.
    ONNX is of float32, whatever the model's precision (onnxruntime has no bfloat16 on a CPU), and so is `causal` then.
    """
    model, rounding = merged(causal.model, sample_tokens(causal))
    with new_directory(directory) as partial:
        model.save_pretrained(partial)
        causal.tokenizer.save_pretrained(partial)
        _must_agree(model, _reloaded(partial), sample_tokens(causal), 0.0, "reloaded")
        if onnx:
            write_onnx(model.float(), partial / ONNX, sample_tokens(causal))
    return rounding


def merged(model: Any, tokens: Tensor) -> tuple[PreTrainedModel, Rounding | None]:
    """The model alone, an adapter's product added to the weights it adapts; ExportError where `tokens` see it.

    Added and compared in float32, twice the memory of bfloat16, and rounded once: in bfloat16 the product would be
    rounded as well, and no comparison could tell that from a mistake.
    """
    if not hasattr(model, "merge_and_unload"):
        return model.eval(), None
    kept = {name.replace(".base_layer", ""): weight.dtype for name, weight in model.get_base_model().named_parameters()}
    for weight in model.parameters():
        weight.data = weight.data.float()  # weights alone, as in `build`
    with torch.inference_mode():
        adapted = Logits(model.eval())(tokens.to(model.device)).float().cpu()
    whole: PreTrainedModel = model.merge_and_unload().eval()
    _must_agree(whole, lambda _: adapted, tokens, TOLERANCE, "adapter's")
    for name, weight in whole.named_parameters():
        weight.data = weight.data.to(kept[name])
    if whole.dtype == torch.float32:
        return whole, None
    with torch.inference_mode():
        rounded = Logits(whole)(tokens.to(whole.device)).float().cpu()
    same = (rounded.argmax(-1) == adapted.argmax(-1)).float().mean()
    largest = float(adapted.abs().max())
    return whole, Rounding(whole.dtype, float((rounded - adapted).abs().max()), largest, float(same))


def write_onnx(model: PreTrainedModel, path: Path, tokens: Tensor) -> None:
    """Tokens (rows, places), of any number of both, to logits. ExportError where onnxruntime does not agree."""
    bound = getattr(model.config, "max_position_embeddings", None)
    batch, places = torch.export.Dim("rows"), torch.export.Dim("places", max=bound)
    torch.onnx.export(
        Logits(model).eval(),
        (tokens[:2, :7],),
        path,
        dynamo=True,
        input_names=["tokens"],
        output_names=["logits"],
        dynamic_shapes={"tokens": {0: batch, 1: places}},
        external_data=model.num_parameters() > ONE_FILE,
        verbose=False,
    )
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def answer(tokens: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"tokens": tokens.cpu().numpy()})[0])

    _must_agree(model, answer, tokens, TOLERANCE, "onnxruntime's")


class Logits(nn.Module):
    """Tokens in, logits out: no cache, no dictionary of results."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.model(input_ids=tokens, use_cache=False).logits
        return logits


def sample_tokens(causal: Causal) -> Tensor:
    """Three rows of different tokens, to compare two models on."""
    places = min(64, causal.context)
    vocabulary = min(len(causal.tokenizer), causal.model.config.vocab_size)
    return torch.randint(vocabulary, (3, places), generator=torch.Generator().manual_seed(0))


def _reloaded(directory: Path) -> Any:
    return Logits(library.transformers().AutoModelForCausalLM.from_pretrained(directory, dtype="auto").eval())


def _must_agree(model: PreTrainedModel, other: Any, tokens: Tensor, tolerance: float, whose: str) -> None:
    with torch.inference_mode():
        ours = Logits(model)(tokens.to(model.device)).float().cpu()
        theirs = other(tokens).float().cpu()
    apart = float((ours - theirs).abs().max())
    if not apart <= tolerance * max(1.0, float(ours.abs().max())):
        raise ExportError(
            f"the {whose} logits are off by {apart:.2g}",
            remedy="Nothing was kept; please report it with your versions.",
        )
