"""What clients call models (pure)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from qwq_local import card
from qwq_local.models.names import SUFFIX

OWN_NAMES: Final = frozenset({card.NAME.casefold(), card.HUB_ID.casefold(), "qwq"})
"""QwQ-32B, with or without a quantization behind a colon."""
LATEST: Final = ":latest"
"""What Ollama's clients put behind a name without a tag."""


def public_name(name: str) -> str:
    """A model's name as clients see it: no path of this machine."""
    return Path(name).name.removesuffix(SUFFIX) if name.endswith(SUFFIX) else name
