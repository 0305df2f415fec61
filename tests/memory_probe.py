"""What llama.cpp itself would allocate: a load in which it allocates nothing.

With `no_alloc` (include/llama.h) it reads a file's header, places its layers, builds its graphs, and logs the size of each buffer that it
would make. It takes some hundredths of a second and needs no weights; a real load may follow. Where several GPUs hold all layers it says
a little too much, some 40 MiB for each but the first with QwQ-32B: it forgets where it has pinned the norms
(`ggml_backend_sched_reserve_size` in ggml/src/ggml-backend.cpp).
"""

from __future__ import annotations

import ctypes
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

from qwq_local.backend import Rope
from qwq_local.gguf import read_header
from qwq_local.llama._context import ContextShape, context_params
from qwq_local.llama._devices import handles_of
from qwq_local.llama._ggml import ggml
from qwq_local.llama._library import _log_callback, library
from qwq_local.llama._model import model_params
from qwq_local.plan.memory import DeviceBytes

HOST: Final = "CPU"
LOAD_MODE_NONE: Final = 0
"""`enum llama_load_mode` (include/llama.h): memory mapping and `no_alloc` together end the process."""

_MIB: Final = 2**20
# src/llama-model.cpp, src/llama-context.cpp and src/llama-kv-cache.cpp
_LAYER: Final = re.compile(r"layer +(\d+) assigned to device (\S+),")
_COMPUTE: Final = re.compile(r": +(\S+) +(?:compute|output) buffer size = +([\d.]+) MiB")
_CACHE: Final = re.compile(r"llama_kv_cache: size = +([\d.]+) MiB \( *\d+ cells, +(\d+) layers")


def probe_memory(path: Path, shape: ContextShape, rope: Rope, n_gpu_layers: int | None = None) -> tuple[DeviceBytes, ...]:
    """The CPU's and each GPU's part of a load of that file and context as `LlamaBackend` would do it."""
    with MemoryProbe(path, n_gpu_layers) as probe:
        return probe.measure(context_params(shape, rope))


class MemoryProbe:
    """A model of which llama.cpp has read the header only; contexts can be tried on it. To be used in a `with` block.

    `n_gpu_layers` None offloads every layer that a GPU can take; `gpu_shares` is `tensor_split` (include/llama.h). While a probe opens or
    measures, llama.cpp's log goes to it.
    """

    def __init__(self, path: Path, n_gpu_layers: int | None = None, gpu_shares: Sequence[float] = ()) -> None:
        self._sizes = {tensor.name: tensor.size_bytes for tensor in read_header(path).tensors}
        self._params = params = model_params(n_gpu_layers, gpu_shares)  # C keeps the pointers in it
        params.no_alloc = True
        params.load_mode = LOAD_MODE_NONE
        with _listening() as said:
            self._handle: Any = library().llama_model_load_from_file(str(path).encode(), params)
        if not self._handle:
            raise RuntimeError(f"llama.cpp would not load {path}: {''.join(said)}")
        self._devices = {int(layer): device for text in said for layer, device in _LAYER.findall(text)}

    def measure(self, params: Any) -> tuple[DeviceBytes, ...]:
        """The parts of a context with these `llama_context_params`: the CPU's first."""
        lib = library()
        with _listening() as said:
            context = lib.llama_init_from_model(self._handle, params)
        if not context:
            raise RuntimeError(f"llama.cpp would not make the context: {''.join(said)}")
        lib.llama_free(context)
        gpus = _devices_by_buffer()
        text = "".join(said)
        caches, buffers = _CACHE.findall(text), _COMPUTE.findall(text)
        if not caches or not buffers or not self._devices:
            raise RuntimeError(f"this llama.cpp has another log: {text}")
        compute: Counter[str] = Counter()
        for buffer, mib in buffers:
            compute[gpus.get(buffer, HOST)] += round(float(mib) * _MIB)
        layers = Counter(device for layer, device in self._devices.items() if layer != max(self._devices))
        layer_mib = sum(float(mib) / int(count) for mib, count in caches)
        weights = self._weights()
        names = [HOST, *dict.fromkeys(gpus.values())]
        return tuple(DeviceBytes(name, weights[name], round(layers[name] * layer_mib * _MIB), compute[name]) for name in names)

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


def _devices_by_buffer() -> dict[str, str]:
    """The names of the devices other than the CPU, by the names of their buffers in llama.cpp's log."""
    lib, gpus = ggml(), handles_of("gpu", "igpu")
    buffers = [lib.ggml_backend_buft_name(lib.ggml_backend_dev_buffer_type(gpu)).decode() for gpu in gpus]
    return dict(zip(buffers, (lib.ggml_backend_dev_name(gpu).decode() for gpu in gpus), strict=True))


@contextmanager
def _listening() -> Iterator[list[str]]:
    """What llama.cpp logs meanwhile, at every level."""
    lib = library()
    said: list[str] = []

    @lib.llama_log_callback  # type: ignore[untyped-decorator]
    def keep(_level: int, text: bytes, _data: object) -> None:
        said.append(text.decode("utf-8", "replace"))

    lib.llama_log_set(keep, ctypes.c_void_p(0))
    try:
        yield said
    finally:
        lib.llama_log_set(_log_callback(lib), ctypes.c_void_p(0))
