"""Turn a checkpoint from Hugging Face into GGUF files, all the wanted quantizations in one pass over the weights."""

from __future__ import annotations
