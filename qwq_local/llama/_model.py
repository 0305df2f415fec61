"""A loaded model."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from qwq_local.errors import LoadError
from qwq_local.llama._amx import extra_buffers_work
from qwq_local.llama._layouts import interleaved_weights
from qwq_local.llama._library import library, take_log
from qwq_local.tuning import UNTUNED, Tuning

ALL_LAYERS = -1
"""`n_gpu_layers` of llama_model_params: a negative value offloads every layer (include/llama.h)."""

LOAD_MODE_NONE = 0
"""`enum llama_load_mode` (include/llama.h): weights are read into memory, and no file is mapped."""

LoadListener = Callable[[float], None]
"""Told the share that is loaded, 0.0 to 1.0."""


class LlamaModel:
    """Owns a llama_model.

    `n_gpu_layers` None offloads every layer that a GPU can take, `gpu_shares` is `tensor_split` (include/llama.h); `on_progress` is told
    the share that is loaded, 0.0 to 1.0. Of `tuning`, what concerns the weights counts. `vocab_only` leaves the weights where they are, and
    the GPUs alone.

    Raises LoadError, and what `on_progress` raises, which ends the loading.
    """

    def __init__(
        self,
        path: Path,
        n_gpu_layers: int | None = None,
        on_progress: LoadListener | None = None,
        gpu_shares: Sequence[float] = (),
        *,
        tuning: Tuning = UNTUNED,
        vocab_only: bool = False,
    ) -> None:
        take_log()
        self._params = params = model_params(n_gpu_layers, gpu_shares)  # C keeps the pointers in it
        params.vocab_only = vocab_only
        if vocab_only:
            # No devices: to ask a GPU for its free memory takes some of it (cudaMemGetInfo makes a context).
            self._devices = (ctypes.c_void_p * 1)(None)
            params.devices = ctypes.cast(self._devices, ctypes.c_void_p)
        else:
            self._lay_out(path, tuning)
        self.handle: Any = _load(path, params, on_progress)
        if not self.handle:
            said = take_log()
            raise LoadError(
                f"llama.cpp could not load {path}." + (f" It said: {said.splitlines()[-1]}" if said else ""),
                hint="Check the file (its size, its source), and that there is memory for it.",
            )

    def _lay_out(self, path: Path, tuning: Tuning) -> None:
        """Say in which layout the weights for the CPU are loaded, and whether their file is mapped."""
        params = self._params
        params.use_extra_bufts = tuning.layout == "auto" and extra_buffers_work()
        if not tuning.is_mapped:
            params.load_mode = LOAD_MODE_NONE
        if tuning.layout == "repacked":
            self._overrides = interleaved_weights(path)
            params.tensor_buft_overrides = ctypes.cast(self._overrides, ctypes.c_void_p)

    @property
    def vocab(self) -> Any:  # noqa: ANN401 - an opaque pointer
        """The llama_vocab, valid as long as the model."""
        return library().llama_model_get_vocab(self.handle)

    @property
    def chat_template(self) -> str | None:
        """The template in the model's file."""
        found: bytes | None = library().llama_model_chat_template(self.handle, None)
        return None if found is None else found.decode("utf-8", "replace")

    def close(self) -> None:
        """Free the weights."""
        if self.handle:
            library().llama_model_free(self.handle)
            self.handle = None


def model_params(n_gpu_layers: int | None, gpu_shares: Sequence[float]) -> Any:  # noqa: ANN401 - a ctypes struct
    """The `llama_model_params` that put the layers where they are to go, `n_gpu_layers` and `gpu_shares` as `LlamaModel` has them."""
    lib = library()
    params = lib.llama_model_default_params()
    params.n_gpu_layers = ALL_LAYERS if n_gpu_layers is None else n_gpu_layers
    if any(gpu_shares):
        # All of llama_max_devices() are read.
        params.tensor_split = (ctypes.c_float * max(len(gpu_shares), lib.llama_max_devices()))(*gpu_shares)
    return params


def _load(path: Path, params: Any, on_progress: LoadListener | None) -> Any:  # noqa: ANN401 - ctypes' own
    lib = library()
    faults: list[Exception] = []

    @lib.llama_progress_callback  # type: ignore[untyped-decorator]
    def goes_on(share: float, _: object) -> bool:
        try:
            if on_progress:
                on_progress(share)
        except Exception as error:  # noqa: BLE001 - cannot cross C: kept, and raised below
            faults.append(error)
        return not faults

    params.progress_callback = goes_on
    handle = lib.llama_model_load_from_file(str(path).encode(), params)
    if faults:
        if handle:
            lib.llama_model_free(handle)
        raise faults[0]
    return handle
