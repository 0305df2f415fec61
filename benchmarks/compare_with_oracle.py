"""Compare our converter with llama.cpp's own, tensor by tensor and key by key.

    python benchmarks/compare_with_oracle.py LLAMA_CPP [CHECKPOINT] [--python PYTHON] [--json FILE]

LLAMA_CPP is llama.cpp's source tree (inside llama-cpp-python's source package: vendor/llama.cpp). PYTHON is an interpreter that has what
its convert_hf_to_gguf.py needs, torch and transformers (the extra `reference`); by default this one. Exits with 1 where a difference is
found that is not on purpose.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import gguf

from qwq_convert.pipeline import Choices, convert

QUANTIZATIONS = ("F32", "BF16", "F16", "Q8_0")
FROM_CARD = "from the model's card where generation_config.json says nothing"
ON_PURPOSE = {
    "qwen2.context_length": "YaRN reaches further than max_position_embeddings says",
    "qwen2.rope.scaling.type": "YaRN is on by default",
    "qwen2.rope.scaling.factor": "YaRN is on by default",
    "qwen2.rope.scaling.original_context_length": "YaRN is on by default",
    "general.sampling.min_p": FROM_CARD,
    "general.sampling.temp": FROM_CARD,
    "general.sampling.top_k": FROM_CARD,
    "general.sampling.top_p": FROM_CARD,
}

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


def run_original(python: str, llama_cpp: Path, checkpoint: Path, quantization: str, name: str, out: Path) -> Path:
    """Convert with convert_hf_to_gguf.py; returns the file it made."""
    path = out / f"original-{quantization}.gguf"
    options = ["--outtype", quantization.lower(), "--outfile", str(path), "--model-name", name]
    subprocess.run([python, "-c", RUN_ORIGINAL, llama_cpp, checkpoint, *options], check=True, capture_output=True)
    return path


def tensors(path: Path) -> dict[str, Any]:
    """Type, shape, place and bytes of each tensor."""
    found = gguf.GGUFReader(path).tensors
    return {t.name: (i, t.tensor_type.name, t.shape.tolist(), t.data.tobytes()) for i, t in enumerate(found)}


def metadata(path: Path) -> dict[str, Any]:
    """Types and value of each key."""
    fields = gguf.GGUFReader(path).fields.items()
    return {key: ([t.name for t in f.types], f.contents()) for key, f in fields if not key.startswith("GGUF.")}


def compare(ours: Path, original: Path) -> dict[str, Any]:
    """What differs between two files."""
    our_tensors, their_tensors = tensors(ours), tensors(original)
    our_keys, their_keys = metadata(ours), metadata(original)
    keys = sorted(our_keys.keys() | their_keys.keys())
    return {
        "tensors": len(our_tensors.keys() | their_tensors.keys()),
        "tensors_equal": sum(our_tensors.get(name) == tensor for name, tensor in their_tensors.items()),
        "keys": len(keys),
        "keys_equal": sum(our_keys.get(key) == their_keys.get(key) for key in keys),
        "differences": {
            key: {"ours": our_keys.get(key), "original": their_keys.get(key), "why": ON_PURPOSE.get(key, "UNEXPECTED")}
            for key in keys
            if our_keys.get(key) != their_keys.get(key)
        },
    }


@click.command()
@click.argument("llama_cpp", type=click.Path(exists=True, path_type=Path))
@click.argument("checkpoint", type=click.Path(exists=True, path_type=Path), default=Path("tests/nano/checkpoint"))
@click.option("--python", default=sys.executable, help="Interpreter with torch and transformers.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(llama_cpp: Path, checkpoint: Path, python: str, json_path: Path | None) -> None:
    """Convert CHECKPOINT with both converters and print a table."""
    name = "compared"
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        for file in convert(checkpoint, out, QUANTIZATIONS, Choices(name)).files:
            original = run_original(python, llama_cpp, checkpoint, file.quantization, name, out)
            figures[file.quantization] = compare(file.path, original)
    print(f"{'type':6} {'tensors':>8} {'equal':>6} {'keys':>6} {'equal':>6}")
    for quantization, row in figures.items():
        print(f"{quantization:6} {row['tensors']:8} {row['tensors_equal']:6} {row['keys']:6} {row['keys_equal']:6}")
    differences = {key: entry for row in figures.values() for key, entry in row["differences"].items()}
    for key, entry in differences.items():
        print(f"{key}: ours {entry['ours']}, original {entry['original']}: {entry['why']}")
    if json_path is not None:
        json_path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    exact = all(row["tensors"] == row["tensors_equal"] for row in figures.values())
    sys.exit(0 if exact and differences.keys() <= ON_PURPOSE.keys() else 1)


if __name__ == "__main__":
    main()
