"""A BERT of the Hub or of a folder, with a new head that says one of two things."""

from __future__ import annotations

import transformers
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from workstation.examples.hub import Located, ModelError
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings

# A new head is "missing" in every checkpoint, and that is meant.
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


class Classifier(nn.Module):
    """A BERT and a new head on its first place: (rows, length) of piece numbers to logits (rows, 2)."""

    def __init__(self, bert: PreTrainedModel) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, pieces: Tensor) -> Tensor:
        mask = (pieces != self.bert.config.pad_token_id).long()
        logits: Tensor = self.bert(input_ids=pieces, attention_mask=mask).logits
        return logits


def load(start: Located, settings: Settings, *, pretrained: bool) -> tuple[PreTrainedTokenizerBase, Classifier]:
    """The tokenizer, and the network with a new head; where it is not `pretrained`, with new weights throughout."""
    seed_everything(settings.seed)
    where = {"pretrained_model_name_or_path": start.name, "local_files_only": start.local}
    try:
        tokenizer = AutoTokenizer.from_pretrained(**where)
        config = AutoConfig.from_pretrained(**where, num_labels=2)
        if not pretrained:
            return tokenizer, Classifier(AutoModelForSequenceClassification.from_config(config))
        bert = AutoModelForSequenceClassification.from_pretrained(**where, config=config)
    except (OSError, ValueError) as error:
        why = str(error).strip().splitlines()[0]
        raise ModelError(
            f"{start.name} cannot be loaded: {why}",
            remedy="Name a BERT of the Hub, or a folder `save_pretrained` wrote.",
        ) from error
    # What a Chinese word means must not drift away while only English words are being seen.
    bert.base_model.embeddings.requires_grad_(False)
    return tokenizer, Classifier(bert)
