"""Does a model that costs what a large one costs still answer as qwq-nano does, and how fast?

    python -m benchmarks.deep_nano [--gb 1.0] [--quant Q4_K_M] [--problems 50] [--keep FILE] [--json FILE]

What speculation, draft models and races are worth shows on a model that reasons and is slow; random weights do not reason, and nano is not
slow. So nano is made larger without becoming another: its vectors get elements that are always zero, its layers heads and feed-forward
elements that nothing listens to, and behind them come layers that add nothing to what passes through them.
"""

from __future__ import annotations

import math
import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final

import click
import gguf
import numpy as np
from numpy.typing import NDArray

from benchmarks.options import json_option
from benchmarks.report import Table
from benchmarks.synthetic import filled
from qwq_convert.header import encode_header
from qwq_convert.metadata import KeyValue, Kind
from qwq_local import QwQ
from qwq_local.gguf import GgufArray, GgufHeader, padded, read_header
from qwq_local.llama import quantize_rows
from qwq_local.models.inventory import demo_model
from qwq_local.plan.shape import ModelShape, shape_of
from qwq_local.quants import F32, Q8_0, TensorType, choose_types, find_quantization, tensor_bytes
from tests.nano.tasks import Problem, draw

WIDTH: Final = 1024
"""Elements of a vector: four times nano's, so that the widened norms' factor is a power of two, and rounds nothing."""
WRITES: Final = ("attn_output.weight", "ffn_down.weight", "token_embd.weight")
"""What is written into the vector that passes through the layers goes through these."""
LEARNED: Final = {"letters": 1.0, "addition": 1.0, "compare": 1.0, "choice": 1.0, "tool": 1.0}
"""Nano's tasks, each as frequent as the others, without the one that it has not learned."""
EPSILON: Final = "qwen2.attention.layer_norm_rms_epsilon"
KINDS: Final[dict[type, Kind]] = {bool: "bool", int: "uint32", float: "float32", str: "string"}

Weights = NDArray[np.float32]


@dataclass(frozen=True)
class DeepNano:
    """Nano in a larger shape: its own layers stay Q8_0, which loses nothing of them, the added ones are of the quantization."""

    nano: GgufHeader
    shape: ModelShape
    quantization: str

    @cached_property
    def own(self) -> ModelShape:
        """Nano's shape."""
        return shape_of(self.nano)

    @cached_property
    def types(self) -> dict[str, TensorType]:
        """Each tensor's type by its name, in the order of the file."""
        shapes, own = self.shape.tensor_shapes(), self.own.tensor_shapes()
        chosen = choose_types(find_quantization(self.quantization), shapes, self.shape.traits)
        return {name: Q8_0 if name in own and kind is not F32 else kind for name, kind in chosen.items()}

    @property
    def weights_bytes(self) -> int:
        """All tensors together."""
        return sum(padded(tensor_bytes(self.types[name], dimensions)) for name, dimensions in self.shape.tensor_shapes().items())

    def metadata(self) -> Iterator[KeyValue]:
        """Nano's own, but for sizes, and for what stands beside a mean of squares that is now over more elements."""
        changed: dict[str, int | float | str] = {
            "general.name": self.shape.name,
            "qwen2.block_count": self.shape.n_layers,
            "qwen2.embedding_length": self.shape.n_embd,
            "qwen2.feed_forward_length": self.shape.n_ff,
            "qwen2.attention.head_count": self.shape.n_heads,
            EPSILON: self.nano.number(EPSILON) * self.own.n_embd / self.shape.n_embd,
        }
        for key, value in self.nano.metadata.items():
            if isinstance(value, GgufArray):
                words = [item for item in value.items or () if isinstance(item, str)]
                numbers = [item for item in value.items or () if isinstance(item, int)]
                yield KeyValue(key, "strings", words) if words else KeyValue(key, "int32s", numbers)
            elif not key.startswith("general.sampling."):
                yield KeyValue(key, KINDS[type(value)], changed.get(key, value))

    def tensors(self) -> Iterator[bytes]:
        """Every tensor as it stands in the file, in the order of the file."""
        own = read_weights(self.nano)
        for name, dimensions in self.shape.tensor_shapes().items():
            if name in own:
                yield encoded(self.widened(name, own[name]), self.types[name])
            elif name.endswith(WRITES):
                yield encoded(np.zeros(dimensions, np.float32), self.types[name])
            else:
                yield filled(self.types[name], dimensions)

    def widened(self, name: str, own: Weights) -> Weights:
        """One of nano's tensors among zeros where its product is written to the vector, else among numbers that meet zeros."""
        dimensions = self.shape.tensor_shapes()[name]
        writes = own.ndim == 1 or name.endswith(WRITES)
        wide = np.zeros(dimensions, np.float32) if writes else random_like(dimensions)
        factor = math.sqrt(self.own.n_embd / self.shape.n_embd) if "norm" in name else 1.0
        rows = self.heads if "attn_q" in name else np.arange(own.shape[0])
        columns = self.heads if "attn_output" in name else np.arange(own.shape[-1])
        wide[rows if own.ndim == 1 else np.ix_(rows, columns)] = own * np.float32(factor)
        return wide

    @cached_property
    def heads(self) -> NDArray[np.intp]:
        """Where the elements of nano's heads stand: each head keeps the keys that it looked at, which now serve more of them."""
        own, more = (shape.n_heads // shape.n_kv_heads for shape in (self.own, self.shape))
        heads = [group * more + head for group in range(self.own.n_kv_heads) for head in range(own)]
        elements = np.arange(self.own.head_size)
        return np.concatenate([head * self.own.head_size + elements for head in heads])


def deep_nano(target_bytes: float, quantization: str, width: int = WIDTH) -> DeepNano:
    """One whose file has about so many bytes, and at least nano's layers; the heads' size divides `width`."""
    header = read_header(demo_model().path, arrays=True)
    own = shape_of(header)

    def with_layers(n_layers: int) -> DeepNano:
        name = f"deep nano, {n_layers} layers of {width}"
        shape = replace(own, name=name, n_layers=n_layers, n_embd=width, n_ff=4 * width, n_heads=width // own.head_size)
        return DeepNano(header, shape, quantization)

    least, more = with_layers(own.n_layers), with_layers(own.n_layers + 1)
    n_added = round((target_bytes - least.weights_bytes) / (more.weights_bytes - least.weights_bytes))
    return with_layers(own.n_layers + max(0, n_added))


def write_deep_nano(path: Path, target_bytes: float, quantization: str = "Q4_K_M", width: int = WIDTH) -> ModelShape:
    """Write such a file; returns its shape."""
    made = deep_nano(target_bytes, quantization, width)
    with path.open("wb") as file:
        file.write(encode_header(list(made.metadata()), made.shape.tensor_shapes(), made.types))
        for tensor in made.tensors():
            file.write(tensor)
    return made.shape


def read_weights(header: GgufHeader) -> dict[str, Weights]:
    """Every tensor of a file by its name, the row length last."""
    data = np.memmap(header.path, np.uint8, "r")
    found = {}
    for tensor in header.tensors:
        shape = tensor.shape[::-1]
        rows = data[tensor.offset_bytes :][: tensor.size_bytes].reshape(*shape[:-1], -1)
        found[tensor.name] = gguf.dequantize(rows, gguf.GGMLQuantizationType[tensor.type.name]).reshape(shape)
    return found


def random_like(dimensions: Sequence[int]) -> Weights:
    """Weights as before a training."""
    return np.random.default_rng(0).normal(0, 0.02, dimensions).astype(np.float32)


def encoded(weights: Weights, kind: TensorType) -> bytes:
    """As they stand in a file."""
    data = weights.tobytes() if kind is F32 else quantize_rows(weights, kind).tobytes()
    return data.ljust(padded(len(data)), b"\0")


def problems_of(n: int) -> list[Problem]:
    """Problems of the kinds that nano has learned, always the same ones."""
    rng = random.Random(9)
    return [draw(rng, LEARNED) for _ in range(n)]


def greedy_answers(model: str, problems: Sequence[Problem]) -> tuple[list[tuple[str, str]], float]:
    """Thoughts and answers, one after the other, and tokens/s of the decoding."""
    with QwQ.load(model, speculates=False) as qwq:
        replies = [qwq.chat(problem.messages, tools=problem.tools or None, temperature=0.0) for problem in problems]
    n_tokens = sum(reply.usage.completion_tokens - 1 for reply in replies)
    said = [(reply.reasoning, f"{reply.content}{reply.tool_calls}") for reply in replies]
    return said, n_tokens / sum(reply.timings.decode_seconds for reply in replies)


@click.command()
@click.option("--gb", "target_gb", default=1.0, show_default=True, help="How large the file is to be, in 10^9 bytes.")
@click.option("--quant", "quantization", default="Q4_K_M", show_default=True, help="Of the added layers.")
@click.option("--problems", "n_problems", default=50, show_default=True)
@click.option("--keep", type=click.Path(dir_okay=False, path_type=Path), help="Write the file here, and keep it.")
@json_option
def main(target_gb: float, quantization: str, n_problems: int, keep: Path | None, json_path: Path | None) -> None:
    """Make one, and let both answer."""
    problems = problems_of(n_problems)
    with tempfile.TemporaryDirectory() as folder:
        path = keep or Path(folder) / f"deep-nano-{quantization}.gguf"
        shape = write_deep_nano(path, target_gb * 1e9, quantization)
        size_gb = path.stat().st_size / 1e9
        own, own_speed = greedy_answers("demo", problems)
        deep, deep_speed = greedy_answers(str(path), problems)
    n_same = sum(a == b for a, b in zip(own, deep, strict=True))
    table = Table(f"greedy answers to {n_problems} problems", ["model", "GB", "same as nano's", "tokens/s"])
    table.add("qwq-nano", demo_model().path.stat().st_size / 1e9, n_problems, own_speed)
    table.add(f"{shape.name}, {quantization}", size_gb, n_same, deep_speed)
    table.show(json_path)


if __name__ == "__main__":
    main()
