"""A language model, whole: from text to tokens, pre-training, evaluation and sampling. Read `settings` first."""
