"""llama.cpp's own account of its memory, to the byte: `llama_get_memory_breakdown`, on which its --fit stands (src/llama-ext.h).

It is C++ and returns a std::map; that is read here as GNU's libstdc++ lays it out, so this works on Linux only. GPUs are stood in for by
`ggml-rpc-server`s on this machine, which llama.cpp takes for GPUs.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

from benchmarks.peers import free_port
from qwq_local.plan.memory import ContextWish
from qwq_local.quants import CACHE_TYPES

_BREAKDOWN = "_Z26llama_get_memory_breakdownPK13llama_context"
_RESERVE = "_Z19llama_graph_reserveP13llama_contextjjj"
_SCHEDULE = "_ZNK13llama_context9get_schedEv"
_WORD = ctypes.sizeof(ctypes.c_size_t)
_START_SECONDS = 20


class Bytes(NamedTuple):
    """What one buffer type, or one device, holds."""

    weights: int = 0
    kv: int = 0
    compute: int = 0


class MemoryOracle:
    """A llama.cpp built with GGML_RPC=ON and shared libraries, which are in `folder`; `servers` are addresses such as 127.0.0.1:50052.

    Weights on the host are kept as they are in the file: laid out for AMX they take more.
    """

    def __init__(self, folder: Path, servers: Sequence[str] = ()) -> None:
        os.environ["LLAMA_CPP_LIB_PATH"] = str(folder)
        from qwq_local.llama._library import library

        self._lib = library()
        self._ggml, self._base, self._llama = (ctypes.CDLL(str(folder / f"lib{name}.so")) for name in ("ggml", "ggml-base", "llama"))
        self._base.ggml_backend_buft_name.restype = ctypes.c_char_p
        for function in (
            self._ggml.ggml_backend_dev_by_name,
            self._base.ggml_backend_dev_buffer_type,
            self._base.ggml_backend_sched_get_backend,
            self._base.ggml_backend_sched_get_buffer_type,
        ):
            function.restype = ctypes.c_void_p
        self._devices = [self._add(folder, server, index) for index, server in enumerate(servers)]

    def _add(self, folder: Path, server: str, index: int) -> ctypes.c_void_p:
        rpc = ctypes.CDLL(str(folder / "libggml-rpc.so"))
        rpc.ggml_backend_rpc_add_server.restype = ctypes.c_void_p
        self._ggml.ggml_backend_register(ctypes.c_void_p(rpc.ggml_backend_rpc_add_server(server.encode())))
        return ctypes.c_void_p(self._ggml.ggml_backend_dev_by_name(f"RPC{index}".encode()))

    def open(self, path: Path, n_gpu_layers: int, shares: Sequence[float], *, is_real: bool = False) -> OracleModel:
        """Read a file's header, or all of it where `is_real`; as many GPUs as there are shares take part."""
        lib = self._lib
        params = lib.llama_model_default_params()
        params.no_alloc, params.load_mode, params.n_gpu_layers = not is_real, 0, n_gpu_layers
        params.use_extra_bufts = False
        split = (ctypes.c_float * lib.llama_max_devices())(*shares)
        devices = (ctypes.c_void_p * (len(shares) + 1))(*self._devices[: len(shares)], None)
        params.tensor_split, params.devices = split, ctypes.cast(devices, ctypes.c_void_p)
        model = lib.llama_model_load_from_file(str(path).encode(), params)
        if not model:
            raise RuntimeError(f"llama.cpp would not load {path}")
        return OracleModel(self, model, [self._buffer(device) for device in self._devices[: len(shares)]])

    def _buffer(self, device: ctypes.c_void_p) -> str:
        return self._name(self._base.ggml_backend_dev_buffer_type(device))

    def _name(self, buffer_type: int) -> str:
        name: bytes = self._base.ggml_backend_buft_name(ctypes.c_void_p(buffer_type))
        return name.decode()

    def params(self, wish: ContextWish) -> Any:  # noqa: ANN401 - a ctypes struct
        """The `llama_context_params` of a wish."""
        params = self._lib.llama_context_default_params()
        params.n_ctx, params.kv_unified = wish.n_ctx, True
        params.n_batch, params.n_ubatch, params.n_seq_max = wish.n_batch, wish.n_ubatch, wish.n_sequences
        params.type_k = params.type_v = CACHE_TYPES[wish.kv_type].id
        params.flash_attn_type = int(wish.flash_attention)
        params.n_outputs_max = wish.n_outputs or 0
        return params

    def breakdown(self, context: int) -> Mapping[str, Bytes]:
        """Bytes by buffer type."""
        head = (ctypes.c_size_t * 8)()
        function = self._llama[_BREAKDOWN]
        function.restype, function.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_void_p]
        function(ctypes.addressof(head), context)
        # A node is colour, parent, left, right, key and the three counts; the head has the tree's root where a node has its parent.
        return {self._name(node[4]): Bytes(node[5], node[6], node[7]) for node in _nodes(head[2])}

    def reserved(self, context: int, wish: ContextWish) -> dict[str, int]:
        """The compute buffers that llama.cpp allocates, by buffer type: for the largest batch, and for a token of each sequence.

        `no_alloc` alone forgets on which GPU llama.cpp has pinned the norms (`ggml_backend_sched_reserve_size` resets that), and counts
        one copy too many between GPUs; so the graph is reserved once more, for real.
        """
        n_batch = min(wish.n_ctx, wish.n_batch)
        n_tokens = min(n_batch, wish.n_ubatch)
        reserve, schedule = (self._llama[name] for name in (_RESERVE, _SCHEDULE))
        reserve.restype = schedule.restype = ctypes.c_void_p
        for tokens, outputs in ((n_tokens, min(n_tokens, wish.n_outputs or n_batch)), (wish.n_sequences, wish.n_sequences)):
            if not reserve(ctypes.c_void_p(context), tokens, wish.n_sequences, outputs):
                raise RuntimeError(f"llama.cpp could not reserve memory for {wish}")
        scheduler = ctypes.c_void_p(schedule(ctypes.c_void_p(context)))
        size = self._base.ggml_backend_sched_get_buffer_size
        size.restype = ctypes.c_size_t
        sizes: Counter[str] = Counter()
        for index in range(self._base.ggml_backend_sched_get_n_backends(scheduler)):
            backend = ctypes.c_void_p(self._base.ggml_backend_sched_get_backend(scheduler, index))
            buffer = self._name(self._base.ggml_backend_sched_get_buffer_type(scheduler, backend))
            sizes[buffer] += size(scheduler, backend)
        return sizes


class OracleModel:
    """A model that contexts are tried on; to be used in a `with` block."""

    def __init__(self, oracle: MemoryOracle, model: object, gpu_buffers: Sequence[str]) -> None:
        self._oracle, self._model, self._gpu_buffers = oracle, model, gpu_buffers
        from qwq_local.llama._library import library

        self._lib = library()

    def measure(self, wish: ContextWish, *, is_simulated: bool = False) -> list[Bytes]:
        """The CPU's bytes, then each GPU's; llama.cpp's account leaves out the host's buffer of logits, which is added here.

        `is_simulated`: compute buffers as `no_alloc` tells them, not as they are allocated.
        """
        context = self._lib.llama_init_from_model(self._model, self._oracle.params(wish))
        if not context:
            raise RuntimeError(f"llama.cpp would not make {wish}")
        found = self._oracle.breakdown(context)
        if not is_simulated:
            reserved = self._oracle.reserved(context, wish)
            found = {name: each._replace(compute=reserved.get(name, 0)) for name, each in found.items()}
        self._lib.llama_free(context)
        host = [each for name, each in found.items() if name not in self._gpu_buffers]
        n_vocab = self._lib.llama_vocab_n_tokens(self._lib.llama_model_get_vocab(self._model))
        logits = Bytes(compute=4 * n_vocab * wish.n_sequences)
        on_host = Bytes(*(sum(column) for column in zip(*host, logits, strict=True)))
        return [on_host, *(found.get(name, Bytes()) for name in self._gpu_buffers)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lib.llama_model_free(self._model)


def _nodes(address: int) -> Iterator[Any]:
    if address:
        node = (ctypes.c_size_t * 8).from_address(address)
        yield node
        yield from _nodes(node[2])
        yield from _nodes(node[3])


@contextmanager
def rpc_servers(program: Path, n_servers: int) -> Iterator[list[str]]:
    """That many servers on free ports of this machine, ended afterwards; yields their addresses."""
    ports = [free_port() for _ in range(n_servers)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    running = [subprocess.Popen([str(program), "-H", "127.0.0.1", "-p", str(port), "-t", "1"], **quiet) for port in ports]  # type: ignore[call-overload]
    try:
        for port in ports:
            _await(port)
        yield [f"127.0.0.1:{port}" for port in ports]
    finally:
        for server in running:
            server.terminate()
            server.wait()


def _await(port: int) -> None:
    ends_at = time.monotonic() + _START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            if time.monotonic() > ends_at:
                raise
            time.sleep(0.05)
        else:
            return
