"""What llama.cpp itself would allocate: a load in which it allocates nothing.

With `no_alloc` (include/llama.h) it reads a file's header, places its layers, builds its graphs, and logs the size of each buffer that it
would make. It takes some hundredths of a second and needs no weights; a real load may follow. Where several GPUs hold all layers it says
a little too much, some 40 MiB for each but the first with QwQ-32B: it forgets where it has pinned the norms
(`ggml_backend_sched_reserve_size` in ggml/src/ggml-backend.cpp).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from qwq_local.backend import Rope
from qwq_local.errors import LoadError
from qwq_local.gguf import read_header
from qwq_local.llama._context import ContextShape, context_params
from qwq_local.llama._devices import devices_by_buffer
from qwq_local.llama._library import GGML_LOG_LEVEL_WARN, LogLine, library, listening
from qwq_local.llama._model import model_params

HOST: Final = "CPU"
LOAD_MODE_NONE: Final = 0
"""`enum llama_load_mode` (include/llama.h): memory mapping and `no_alloc` together end the process."""

_MIB: Final = 2**20
# src/llama-model.cpp, src/llama-context.cpp and src/llama-kv-cache.cpp
_LAYER: Final = re.compile(r"layer +(\d+) assigned to device (\S+),")
_COMPUTE: Final = re.compile(r": +(\S+) +(?:compute|output) buffer size = +([\d.]+) MiB")
_CACHE: Final = re.compile(r"llama_kv_cache: size = +([\d.]+) MiB \( *\d+ cells, +(\d+) layers")


@dataclass(frozen=True)
class ProbedMemory:
    """What llama.cpp says of a device: bytes, those of the cache and of compute to a hundredth of a MiB."""

    device: str
    weights_bytes: int
    kv_bytes: int
    compute_bytes: int

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return self.weights_bytes + self.kv_bytes + self.compute_bytes


def probe_memory(path: Path, shape: ContextShape, rope: Rope, n_gpu_layers: int | None = None) -> tuple[ProbedMemory, ...]:
    """The CPU's and each GPU's part of a load of that file and context as `LlamaBackend` would do it; the last check before it.

    Raises:
        LoadError: llama.cpp refuses the file or the context.
        ModelFileError: the file is no GGUF, or damaged.
    """
    with MemoryProbe(path, n_gpu_layers) as probe:
        return probe.measure(context_params(shape, rope))


class MemoryProbe:
    """A model of which llama.cpp has read the header only; contexts can be tried on it. To be used in a `with` block.

    `n_gpu_layers` None offloads every layer that a GPU can take; `gpu_shares` is `tensor_split` (include/llama.h). While a probe opens or
    measures, llama.cpp's log goes to it. Raises what `probe_memory` does.
    """

    def __init__(self, path: Path, n_gpu_layers: int | None = None, gpu_shares: Sequence[float] = ()) -> None:
        self._sizes = {tensor.name: tensor.size_bytes for tensor in read_header(path).tensors}
        self._params = params = model_params(n_gpu_layers, gpu_shares)  # C keeps the pointers in it
        params.no_alloc = True
        params.load_mode = LOAD_MODE_NONE
        with listening() as lines:
            self._handle: Any = library().llama_model_load_from_file(str(path).encode(), params)
        if not self._handle:
            raise _refusal(f"llama.cpp would not load {path}.", lines, "Check the file (its size, its source).")
        self._devices = {int(layer): device for line in lines for layer, device in _LAYER.findall(line.text)}

    def measure(self, params: Any) -> tuple[ProbedMemory, ...]:  # noqa: ANN401 - a ctypes struct
        """The parts of a context with these `llama_context_params`: the CPU's first. Raises LoadError."""
        lib = library()
        with listening() as lines:
            context = lib.llama_init_from_model(self._handle, params)
        if not context:
            raise _refusal("llama.cpp would not make the context.", lines, "Ask for a shorter context (--ctx) or another --kv-type.")
        lib.llama_free(context)
        gpus = devices_by_buffer()
        text = "".join(line.text for line in lines)
        caches, buffers = _CACHE.findall(text), _COMPUTE.findall(text)
        if not caches or not buffers or not self._devices:
            raise LoadError("llama.cpp did not say what it would allocate.", hint="Go by the estimate: this llama.cpp has another log.")
        compute: Counter[str] = Counter()
        for buffer, mib in buffers:
            compute[gpus.get(buffer, HOST)] += round(float(mib) * _MIB)
        layers = Counter(device for layer, device in self._devices.items() if layer != max(self._devices))
        layer_mib = sum(float(mib) / int(count) for mib, count in caches)
        weights = self._weights()
        names = [HOST, *dict.fromkeys(gpus.values())]
        return tuple(ProbedMemory(name, weights[name], round(layers[name] * layer_mib * _MIB), compute[name]) for name in names)

    def _weights(self) -> Counter[str]:
        output = self._devices[max(self._devices)]
        weights: Counter[str] = Counter()
        for name, size_bytes in self._sizes.items():
            layer = re.match(r"blk\.(\d+)\.", name)
            place = self._devices[int(layer[1])] if layer else HOST if name.startswith("token_embd.") else output
            weights[place] += size_bytes
        if "output.weight" not in self._sizes and output != HOST:
            # Tied embeddings are on the host, and once more where the output is.
            weights[output] += self._sizes["token_embd.weight"]
        return weights

    def close(self) -> None:
        """Free what was read."""
        if self._handle:
            library().llama_model_free(self._handle)
            self._handle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _refusal(what: str, lines: Sequence[LogLine], hint: str) -> LoadError:
    said = [line.text.strip() for line in lines if line.level >= GGML_LOG_LEVEL_WARN and line.text.strip()]
    return LoadError(what + (f" It said: {said[-1]}" if said else ""), hint=hint)
