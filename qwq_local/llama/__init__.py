"""The C boundary: the only room that imports llama_cpp. Every handle of llama.cpp has one private file here."""

from __future__ import annotations

from qwq_local.llama._backend import LlamaBackend
from qwq_local.llama._context import ContextShape
from qwq_local.llama._imatrix import ActivationCollector

__all__ = ["ActivationCollector", "ContextShape", "LlamaBackend"]
