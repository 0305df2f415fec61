"""The C boundary: the only room that imports llama_cpp. Every handle of llama.cpp has one private file here."""

from __future__ import annotations

from qwq_local.llama._activations import ActivationCollector
from qwq_local.llama._backend import LlamaBackend
from qwq_local.llama._constraint import check_constraint
from qwq_local.llama._context import ContextShape
from qwq_local.llama._devices import list_devices
from qwq_local.llama._layouts import cpu_build
from qwq_local.llama._meter import CpuMeter
from qwq_local.llama._model import LoadListener
from qwq_local.llama._quantize import quantize_rows
from qwq_local.llama._vocabulary import FileVocabulary

__all__ = [
    "ActivationCollector",
    "ContextShape",
    "CpuMeter",
    "FileVocabulary",
    "LlamaBackend",
    "LoadListener",
    "check_constraint",
    "cpu_build",
    "list_devices",
    "quantize_rows",
]
