"""Predicted against measured tokens/s on this machine, for synthetic models of four sizes (random weights of Qwen2's shape).

    python -m benchmarks.speed [--folder DIR] [--quant Q4_K_M] [--rounds 3] [--json FILE]

"corrected" is what the plan says once this machine has run models: the prediction times the median of measured / predicted. To be fair,
each model is left out of its own correction.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click
import numpy as np

from benchmarks.report import Table
from qwq_convert.header import encode_header, padded
from qwq_convert.metadata import KeyValue
from qwq_local import QwQ
from qwq_local.gguf import GgufArray, read_header
from qwq_local.llama import list_devices
from qwq_local.llama._quantize import quantize_rows
from qwq_local.models import hardware, measured, nvidia
from qwq_local.models.inventory import demo_model
from qwq_local.models.machine import Machine
from qwq_local.models.offers import offer_of_file
from qwq_local.models.plan import PlanWish, consider
from qwq_local.models.shape import ModelShape
from qwq_local.quants import F32, TensorType, choose_types, find_quantization, tensor_bytes

N_VOCAB: Final = 32_768
N_CTX: Final = 512
N_TOKENS: Final = 48
SHAPES: Final = tuple(
    ModelShape(f"{n_layers} layers of {n_embd}", n_layers, n_embd, 4 * n_embd, n_embd // 64, n_embd // 256, 64, N_VOCAB, 32_768, tied=False)
    for n_layers, n_embd in ((10, 1024), (16, 1536), (20, 2048), (26, 2816))
)


def metadata(shape: ModelShape) -> list[KeyValue]:
    """What llama.cpp needs to load it; the vocabulary is the demo model's, filled up with words of no meaning."""
    demo = read_header(demo_model().path, arrays=True)

    def items(key: str) -> list[object]:
        array = demo.metadata[f"tokenizer.ggml.{key}"]
        assert isinstance(array, GgufArray), key
        return list(array.items or ())

    filling = [f"filling{i}" for i in range(shape.n_vocab - len(items("tokens")))]
    return [
        KeyValue("general.architecture", "string", "qwen2"),
        KeyValue("general.name", "string", shape.name),
        KeyValue("qwen2.block_count", "uint32", shape.n_layers),
        KeyValue("qwen2.context_length", "uint32", shape.native_ctx),
        KeyValue("qwen2.embedding_length", "uint32", shape.n_embd),
        KeyValue("qwen2.feed_forward_length", "uint32", shape.n_ff),
        KeyValue("qwen2.attention.head_count", "uint32", shape.n_heads),
        KeyValue("qwen2.attention.head_count_kv", "uint32", shape.n_kv_heads),
        KeyValue("qwen2.attention.layer_norm_rms_epsilon", "float32", 1e-5),
        KeyValue("tokenizer.ggml.model", "string", "gpt2"),
        KeyValue("tokenizer.ggml.pre", "string", "qwen2"),
        KeyValue("tokenizer.ggml.tokens", "strings", [*map(str, items("tokens")), *filling]),
        KeyValue("tokenizer.ggml.token_type", "int32s", [*(int(str(kind)) for kind in items("token_type")), *[1] * len(filling)]),
        KeyValue("tokenizer.ggml.merges", "strings", [str(merge) for merge in items("merges")]),
        KeyValue("tokenizer.ggml.eos_token_id", "uint32", demo.integer("tokenizer.ggml.eos_token_id")),
    ]


def write_model(path: Path, shape: ModelShape, quantization: str) -> None:
    """A file of that shape: some random rows of each type, again and again."""
    shapes = shape.tensor_shapes()
    types = choose_types(find_quantization(quantization), shapes, shape.traits)
    rng = np.random.default_rng(0)
    rows: dict[tuple[TensorType, int], bytes] = {}
    with path.open("wb") as file:
        file.write(encode_header(metadata(shape), shapes, types))
        for name, dimensions in shapes.items():
            kind, length = types[name], dimensions[-1]
            if (kind, length) not in rows:
                sample = rng.normal(0, 0.02, (32, length)).astype(np.float32)
                rows[kind, length] = sample.tobytes() if kind is F32 else quantize_rows(sample, kind).tobytes()
            size_bytes = tensor_bytes(kind, dimensions)
            block = rows[kind, length]
            file.write((block * (size_bytes // len(block) + 1))[:size_bytes].ljust(padded(size_bytes), b"\0"))


def measure(path: Path, rounds: int) -> float:
    """Tokens/s through the engine, from the median time between tokens: a moment when the machine does something else does not count."""
    seconds = []
    with QwQ.load(str(path), n_ctx=N_CTX) as qwq:
        for seed in range(rounds):
            moments = [time.perf_counter() for _ in qwq.stream("Hello", max_tokens=N_TOKENS, seed=seed)]
            seconds += [later - earlier for earlier, later in itertools.pairwise(moments[:-1])]
    return 1 / statistics.median(seconds)


def predict(path: Path, quantization: str, machine: Machine) -> float:
    """Tokens/s as the plan says before this machine has run anything."""
    offer = offer_of_file([path], quantization, path.name, N_CTX)
    speed = consider(machine, offer, PlanWish(n_ctx=N_CTX)).tokens_per_second
    assert speed is not None, f"{path} does not fit"
    return speed


def show(rows: Sequence[tuple[str, float, float, float]], json_path: Path | None) -> None:
    """Print the table; a row is name, GB, predicted and measured tokens/s."""
    table = Table("tokens/s", ["model", "GB", "predicted", "measured", "error", "corrected", "error, corrected"])
    ratios = [found / predicted for *_, predicted, found in rows]
    for i, (name, size_gb, predicted, found) in enumerate(rows):
        corrected = predicted * statistics.median([*ratios[:i], *ratios[i + 1 :]])
        table.add(name, size_gb, predicted, found, f"{predicted / found - 1:+.0%}", corrected, f"{corrected / found - 1:+.0%}")
    table.show(json_path)


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), help="Where the models are made, and kept. [default: a new one, deleted]")
@click.option("--quant", "quantization", default="Q4_K_M", show_default=True)
@click.option("--rounds", default=3, show_default=True, help="Answers from each model.")
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path))
def main(folder: Path | None, quantization: str, rounds: int, json_path: Path | None) -> None:
    """Make the models, predict, measure."""
    with tempfile.TemporaryDirectory() as temporary:
        where = folder or Path(temporary)
        where.mkdir(parents=True, exist_ok=True)
        bandwidth = max(measured.measure_ram_bandwidth(hardware.usable_cores()) for _ in range(5))
        machine = hardware.find_machine(list_devices(), bandwidth, where, cpu=hardware.cpu_name(), cards=nvidia.ask())
        print(f"RAM: {bandwidth / 1e9:.1f} GB/s, {hardware.usable_cores()} cores")
        rows = []
        for shape in SHAPES:
            path = where / f"{shape.n_layers}x{shape.n_embd}-{quantization}.gguf"
            if not path.exists():
                write_model(path, shape, quantization)
            rows.append((shape.name, path.stat().st_size / 1e9, predict(path, quantization, machine), measure(path, rounds)))
        show(rows, json_path)


if __name__ == "__main__":
    main()
