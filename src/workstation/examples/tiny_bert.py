"""A BERT small enough to be pre-trained while one waits, from texts without a single label.

BERT's own two questions are: which word is missing, and does this sentence follow that one (Devlin et al.,
arXiv:1810.04805)? Ours is the second, put to a whole batch at once: which of all these remarks is by the same guest
(van den Oord et al., arXiv:1807.03748)? Who liked one thing liked the next, and guests write in two languages.
Missing words were tried as well: in five times the time they taught it a dictionary, and next to nothing of verdicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_model
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertConfig, BertModel, BertTokenizer, PreTrainedTokenizerBase

from workstation.examples import guestbook, wordpiece
from workstation.training.batches import Batches
from workstation.training.loop import Hook, fit
from workstation.training.parallel import all_rows
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings


class Companions(nn.Module):
    """How well each first remark goes with each second one: their vectors' cosine, times five."""

    def __init__(self, bert: BertModel) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Two of (rows, length) to (rows, rows)."""
        return 5 * all_rows(self._vectors(first)) @ all_rows(self._vectors(second)).T

    def _vectors(self, pieces: Tensor) -> Tensor:
        return F.normalize(self.bert(input_ids=pieces, attention_mask=(pieces != wordpiece.PAD).long()).pooler_output)


def loss(likeness: Tensor, _: Tensor) -> Tensor:
    """Each remark should find its companion among all, in both directions: it stands in the same row. (rows, rows)."""
    own = torch.arange(len(likeness), device=likeness.device)
    return (F.cross_entropy(likeness, own) + F.cross_entropy(likeness.T, own)) / 2


def pretrain(folder: Path, settings: Settings, hooks: Sequence[Hook] = ()) -> list[float]:
    """Train, and keep model and tokenizer in `folder`, in the form the Hub has them in."""
    firsts, seconds = guestbook.guests(settings.seed)
    tokenizer = BertTokenizer(tokenizer_object=wordpiece.learn([*firsts, *seconds]))
    seed_everything(settings.seed)
    bert = BertModel(BertConfig(
        vocab_size=len(tokenizer), hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128,
        max_position_embeddings=64, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    ))  # fmt: skip
    epochs = settings.epochs or 6
    optimizer = torch.optim.AdamW(bert.parameters(), lr=0.001)
    rows = (pieces(tokenizer, firsts), pieces(tokenizer, seconds), torch.arange(len(firsts)))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.001, total_steps=epochs + 1, div_factor=4)
    losses = fit(
        Companions(bert),
        Batches(rows, size=128, seed=settings.seed),
        loss,
        optimizer,
        epochs=epochs,
        settings=settings,
        scheduler=schedule,
        hooks=hooks,
        name="pretrain",
    )
    # As its save_pretrained, which in a job of many processes writes on the first one of each machine alone.
    bert.config.save_pretrained(folder)
    save_model(bert, str(folder / "model.safetensors"), metadata={"format": "pt"})
    tokenizer.save_pretrained(folder)
    return losses


def pieces(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> Tensor:
    """Each text between its two marks, padded: (texts, longest)."""
    found: Tensor = tokenizer(list(texts), padding=True, return_tensors="pt")["input_ids"]
    return found
