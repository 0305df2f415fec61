"""Whether this build's kernels for Intel's AMX work: another process tries them, since where they do not they end it.

GCC 11 to 13, before 11.5, 12.4 and 13.3, tells its optimizer that `_tile_loadconfig` reads 8 of the 64 bytes that it reads (GCC bug
114098), so what llama.cpp wrote into the others (ggml/src/ggml-cpu/amx/mmq.cpp) may be lost, and the first batch of a quantized model is a
segmentation fault. Debian 12 ships such a compiler. Without the extra buffers llama.cpp multiplies by AVX-512 instead.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final

from qwq_local.configuration import find_folders
from qwq_local.llama._library import library, library_folder

FILE_NAME: Final = "amx.json"
TRIAL_TOKENS: Final = 64
TRIAL_SECONDS: Final = 60.0
MOST_DIFFERENCE: Final = 1.0
"""Between logits, which reach some twenty; kernels that round otherwise differ by hundredths."""


@cache
def extra_buffers_work() -> bool:
    """Whether llama.cpp may put weights into buffers laid out for this CPU's extensions (`use_extra_bufts`, include/llama.h).

    Where the build has AMX, a trial run decides, once for each build; its outcome is kept in the cache folder.
    """
    if b"AMX_INT8 = 1" not in library().llama_print_system_info():
        return True
    stamp = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in sorted(library_folder().glob("*ggml-cpu*"))]
    kept = find_folders().cache / FILE_NAME
    works = _read(kept, stamp)
    if works is None and (works := _try()) is not None:
        _write(kept, {"build": stamp, "works": works})
    return works or False


def _read(path: Path, stamp: object) -> bool | None:
    try:
        said = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    match said:
        case {"build": build, "works": bool(works)} if build == stamp:
            return works
    return None


def _write(path: Path, outcome: object) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(outcome) + "\n", "utf-8")
    except OSError:
        return  # then the next start tries again


def _try() -> bool | None:
    """What a trial says; None where it could not be had."""
    command = [sys.executable, "-m", __name__]
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=TRIAL_SECONDS).returncode == 0  # noqa: S603 - our own
    except (OSError, subprocess.TimeoutExpired):
        return None


def trial() -> None:
    """Read a batch with the built-in model, its weights in the extra buffers and as they are: both must come to the same."""
    pairs = zip(_logits(use_extra_buffers=True), _logits(use_extra_buffers=False), strict=True)
    if not max(abs(a - b) for a, b in pairs) < MOST_DIFFERENCE:
        raise SystemExit(1)


def _logits(*, use_extra_buffers: bool) -> list[float]:
    import ctypes

    lib = library()
    params = lib.llama_model_default_params()
    params.use_extra_bufts = use_extra_buffers
    path = resources.files("qwq_local") / "demo" / "qwq-nano-Q8_0.gguf"
    model = lib.llama_model_load_from_file(str(path).encode(), params)
    shape = lib.llama_context_default_params()
    shape.n_ctx, shape.n_threads, shape.n_threads_batch = 2 * TRIAL_TOKENS, 1, 1
    context = lib.llama_init_from_model(model, shape)
    tokens = (ctypes.c_int32 * TRIAL_TOKENS)(*range(TRIAL_TOKENS))
    if lib.llama_decode(context, lib.llama_batch_get_one(tokens, TRIAL_TOKENS)) != 0:
        raise SystemExit(1)
    n_vocab = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))
    return list(ctypes.cast(lib.llama_get_logits_ith(context, -1), ctypes.POINTER(ctypes.c_float * n_vocab)).contents)


if __name__ == "__main__":
    trial()
