"""`transformers`, imported after the hub has been asked for or given up, and kept from drawing bars of its own."""

from __future__ import annotations

import logging
import warnings
from typing import Any

from workstation.llm import hub


def transformers() -> Any:
    """The library. With nothing reachable it will say so in seconds (see `hub`)."""
    hub.settle()
    # torchao, which transformers imports, registers constants in a way that torch 2.14 remarks on.
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)
    # PEFT 0.21 asks a model for its checkpointing by a name that transformers 5 has given up.
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated")
    import transformers as library
    from transformers.utils import logging as its_own

    its_own.disable_progress_bar()
    its_own.set_verbosity_error()
    return library
