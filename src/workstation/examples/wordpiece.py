"""Text to numbers, cut the way BERT does (Devlin et al., arXiv:1810.04805).

Chinese has no spaces, English has. This cutter sets every Chinese character apart and splits the rest at spaces and
punctuation. Then it takes the longest piece in its table: a whole word that the training texts have, else letters. The
library's own trainer finds pieces in between as well, but other ones each time: it breaks ties by chance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor

PAD, UNKNOWN, FIRST, LAST, MASK = range(5)
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def learn(texts: Iterable[str]) -> Tokenizer:
    """A table of the texts' words, the most frequent first, and of their letters; what neither covers becomes [UNK]."""
    normalizer, cutter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    words = Counter(word for text in texts for word, _ in cutter.pre_tokenize_str(normalizer.normalize_str(text)))
    first, later = {word[0] for word in words}, {f"##{letter}" for word in words for letter in word[1:]}
    pieces = [*SPECIAL, *sorted(first), *sorted(later), *sorted(words, key=lambda word: (-words[word], word))]
    table = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocab=table, unk_token=SPECIAL[UNKNOWN]))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, cutter
    tokenizer.add_special_tokens(SPECIAL)  # they keep their numbers; decoding leaves them out
    return tokenizer


def numbers(tokenizer: Tokenizer, texts: Sequence[str]) -> Tensor:
    """The numbers of each text's pieces, (texts, longest), filled up with PAD."""
    rows = [torch.tensor(found.ids) for found in tokenizer.encode_batch(list(texts))]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)
