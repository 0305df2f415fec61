"""The C boundary: the only room that imports llama_cpp. Every handle of llama.cpp has one private file here."""

from __future__ import annotations

from qwq_local.llama._activations import ActivationCollector
from qwq_local.llama._backend import LlamaBackend
from qwq_local.llama._constraint import check_constraint
from qwq_local.llama._context import ContextShape, LlamaContext
from qwq_local.llama._devices import list_devices
from qwq_local.llama._interrupt import InterruptSwitch
from qwq_local.llama._layouts import cpu_build, may_interleave, uses_extra_layouts
from qwq_local.llama._meter import CpuMeter
from qwq_local.llama._model import LlamaModel, LoadListener
from qwq_local.llama._quantize import quantize_rows
from qwq_local.llama._vocabulary import FileVocabulary

__all__ = [
    "ActivationCollector",
    "ContextShape",
    "CpuMeter",
    "FileVocabulary",
    "InterruptSwitch",
    "LlamaBackend",
    "LlamaContext",
    "LlamaModel",
    "LoadListener",
    "check_constraint",
    "cpu_build",
    "list_devices",
    "may_interleave",
    "quantize_rows",
    "uses_extra_layouts",
]
