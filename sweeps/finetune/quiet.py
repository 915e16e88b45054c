"""Leave out what libraries say of each other on every trial and no user can act on."""

from __future__ import annotations

import warnings

import transformers


def quieten() -> None:
    """Silence progress bars and deprecation notes between transformers and peft, in this process."""
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers|peft")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
