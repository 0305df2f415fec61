"""llama.cpp's own tools, as the benchmarks run them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from qwq_convert.config import ModelConfig
from qwq_convert.header import encode_header
from qwq_convert.metadata import KeyValue
from qwq_local.gguf import padded
from qwq_local.quants import BF16, F32, TENSOR_TYPES, TensorType, tensor_bytes

# The original knows tokenizers by a hash of their output, and nano's is Qwen2's with merges of its own.
RUN_ORIGINAL = """
import runpy, sys
from pathlib import Path
home = Path(sys.argv[1]).resolve()
sys.path[:0] = [str(home), str(home / "gguf-py")]
from conversion.base import TextModel
TextModel.get_vocab_base_pre = lambda self, tokenizer: "qwen2"
sys.argv = [str(home / "convert_hf_to_gguf.py"), *sys.argv[2:]]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

_TYPES_BY_NAME = {found.name: found for found in TENSOR_TYPES.values()}
_DRY_RUN_LINE = re.compile(
    r"^\[ *\d+/ *\d+\] +(\S+) +- \[.*\], type = +(\w+), size = +[\d.]+ MiB(?: -> +[\d.]+ MiB \((\w+)\))?", re.MULTILINE
)


class OracleError(Exception):
    """One of the tools refused or failed."""


def original_command(llama_cpp: Path, python: str, checkpoint: Path, out: Path, out_type: str, name: str) -> Sequence[object]:
    """What makes `out` with convert_hf_to_gguf.py of the source tree `llama_cpp`, by a Python that has what that needs."""
    options = ("--outtype", out_type.lower(), "--outfile", out, "--model-name", name)
    return python, "-c", RUN_ORIGINAL, llama_cpp, checkpoint, *options


def quantize_command(
    tools: Path, source: Path, out: Path, quantization: str, n_threads: int = 1, options: Sequence[object] = ()
) -> Sequence[object]:
    """What makes `out` with the llama-quantize in the folder `tools`."""
    return tools / "llama-quantize", *options, source, out, quantization, n_threads


def chosen_types(tools: Path, source: Path, quantization: str, options: Sequence[object] = ()) -> tuple[dict[str, TensorType], float]:
    """The type that llama-quantize would give to each tensor, and the size of all of them in MiB, from its dry run."""
    said = run(tools / "llama-quantize", "--dry-run", *options, source, quantization)
    size = re.search(r"quant size += +([\d.]+) MiB", said)
    assert size, "a dry run tells the size"
    return {name: _TYPES_BY_NAME[(new or old).upper()] for name, old, new in _DRY_RUN_LINE.findall(said)}, float(size[1])


def run(*command: object) -> str:
    """What it says; raises OracleError where it fails."""
    done = subprocess.run([str(part) for part in command], check=False, capture_output=True, text=True)
    if done.returncode:
        raise OracleError(f"{command[0]} failed: {(done.stdout + done.stderr)[-2000:]}")
    return done.stdout + done.stderr


def write_without_weights(path: Path, config: ModelConfig, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """A GGUF file with only a hole where its BF16 weights would be: it is long, and takes little of the disk."""
    types = {name: BF16 if len(shape) > 1 else F32 for name, shape in shapes.items()}
    metadata = [
        KeyValue("general.architecture", "string", "qwen2"),
        KeyValue("qwen2.block_count", "uint32", config.layers),
        KeyValue("qwen2.context_length", "uint32", config.context),
        KeyValue("qwen2.embedding_length", "uint32", config.hidden),
        KeyValue("qwen2.feed_forward_length", "uint32", config.intermediate),
        KeyValue("qwen2.attention.head_count", "uint32", config.heads),
        KeyValue("qwen2.attention.head_count_kv", "uint32", config.key_value_heads),
        KeyValue("qwen2.attention.layer_norm_rms_epsilon", "float32", config.norm_epsilon),
    ]
    header = encode_header(metadata, shapes, types)
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + sum(padded(tensor_bytes(types[name], shape)) for name, shape in shapes.items()))
