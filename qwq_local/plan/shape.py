"""A model's shape: what its memory follows from (pure)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from qwq_local import card
from qwq_local.errors import DamagedFileError, SettingsError
from qwq_local.gguf import GgufHeader
from qwq_local.quants import ModelTraits
from qwq_local.quants.choice import EMBEDDING, OUTPUT


@dataclass(frozen=True)
class ModelShape:
    """The counts of a Qwen2 model: layers, elements of its vectors, heads, tokens.

    `tied` says that the embeddings are the output matrix too. Raises SettingsError for counts that cannot be.
    """

    name: str
    n_layers: int
    n_embd: int
    n_ff: int
    n_heads: int
    n_kv_heads: int
    head_size: int
    n_vocab: int
    tied: bool

    def __post_init__(self) -> None:
        counts = (self.n_layers, self.n_embd, self.n_ff, self.n_heads, self.n_kv_heads, self.head_size, self.n_vocab)
        if min(counts) < 1 or self.n_heads % self.n_kv_heads or self.n_heads * self.head_size != self.n_embd:
            raise SettingsError(
                f"{self.name} has {self.n_layers} layers of {self.n_embd}, {self.n_heads} heads of {self.head_size} for "
                f"{self.n_kv_heads} of keys and values, and {self.n_vocab} tokens, which is no shape of a Qwen2 model.",
                hint="Each count is at least 1, the heads together are as long as a vector, and each key serves as many queries.",
            )

    @property
    def n_embd_kv(self) -> int:
        """Elements of all keys of one token in one layer, and as many of values."""
        return self.n_kv_heads * self.head_size

    @property
    def traits(self) -> ModelTraits:
        """What the types of its tensors depend on."""
        return ModelTraits(self.n_layers, self.n_heads, self.n_kv_heads)

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Every tensor by its GGUF name, the row length last (src/models/qwen2.cpp, `load_arch_tensors`)."""
        embd, kv, ff = self.n_embd, self.n_embd_kv, self.n_ff
        layer: dict[str, tuple[int, ...]] = {
            "attn_norm.weight": (embd,),
            "attn_q.weight": (embd, embd),
            "attn_q.bias": (embd,),
            "attn_k.weight": (kv, embd),
            "attn_k.bias": (kv,),
            "attn_v.weight": (kv, embd),
            "attn_v.bias": (kv,),
            "attn_output.weight": (embd, embd),
            "ffn_norm.weight": (embd,),
            "ffn_gate.weight": (ff, embd),
            "ffn_up.weight": (ff, embd),
            "ffn_down.weight": (embd, ff),
        }
        shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (self.n_vocab, embd), "output_norm.weight": (embd,)}
        if not self.tied:
            shapes[OUTPUT] = (self.n_vocab, embd)
        return shapes | {f"blk.{i}.{name}": dimensions for i in range(self.n_layers) for name, dimensions in layer.items()}


QWQ_32B: Final = ModelShape(
    name="QwQ-32B",
    n_layers=card.N_LAYERS,
    n_embd=card.N_EMBD,
    n_ff=card.N_FF,
    n_heads=card.N_HEADS,
    n_kv_heads=card.N_KV_HEADS,
    head_size=card.HEAD_SIZE,
    n_vocab=card.N_VOCAB,
    tied=False,
)
"""For planning without a file."""


def layer_of(name: str, all_layers: int) -> int:
    """The layer that a tensor belongs to; what is in no block counts as the output layer's, which is the last."""
    return int(name.split(".", 2)[1]) if name.startswith("blk.") else all_layers - 1


def shape_of(header: GgufHeader) -> ModelShape:
    """The shape that a file's metadata and tensor table say.

    Raises:
        DamagedFileError: they lack a count, or the counts contradict each other.
    """
    prefix = header.text("general.architecture", card.ARCHITECTURE)
    n_embd = header.integer(f"{prefix}.embedding_length")
    n_heads = header.integer(f"{prefix}.attention.head_count")
    shapes = {tensor.name: tensor.shape for tensor in header.tensors}
    layers = {int(name.split(".", 2)[1]) for name in shapes if re.match(r"blk\.\d+\.", name)}
    n_layers = header.integer(f"{prefix}.block_count")
    if layers != set(range(n_layers)):
        raise DamagedFileError(
            f"{header.path} says it has {n_layers} layers, and has tensors of {len(layers)}.", hint="Download it or convert it again."
        )
    try:
        return ModelShape(
            name=header.text("general.name", header.path.stem),
            n_layers=n_layers,
            n_embd=n_embd,
            n_ff=header.integer(f"{prefix}.feed_forward_length"),
            n_heads=n_heads,
            n_kv_heads=header.integer(f"{prefix}.attention.head_count_kv", n_heads),
            head_size=header.integer(f"{prefix}.attention.key_length", n_embd // max(1, n_heads)),
            n_vocab=shapes.get(EMBEDDING, (0, 0))[-1],
            tied=OUTPUT not in shapes,
        )
    except (SettingsError, ZeroDivisionError) as error:
        raise DamagedFileError(f"{header.path} contradicts itself: {error}", hint="Download it or convert it again.") from error
