"""Which tensors a Qwen2 checkpoint holds, of what shapes, and what GGUF calls them (pure).

Names are those of gguf-py/gguf/tensor_mapping.py and constants.py (MODEL_ARCH.QWEN2). Shapes are in the checkpoint's order: rows first,
the length of a row last.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qwq_convert.config import ModelConfig
from qwq_local.errors import ConversionError

EMBEDDING = "model.embed_tokens.weight"
OUTPUT = "lm_head.weight"
_IGNORED_ENDING = ".rotary_emb.inv_freq"
"""A buffer that old checkpoints carry; it follows from rope_theta."""

Shape = tuple[int, ...]


@dataclass(frozen=True)
class MappedTensor:
    """A tensor to convert: its name in the checkpoint, its name in GGUF, and its shape, the row length last."""

    source: str
    target: str
    shape: Shape

    @property
    def n_elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


def expected_tensors(config: ModelConfig) -> dict[str, MappedTensor]:
    """Every tensor that a checkpoint of this shape holds, by its name there.

    With tied embeddings there is no output matrix: llama.cpp then uses the embeddings again.
    """
    tensors = [
        MappedTensor(EMBEDDING, "token_embd.weight", (config.vocabulary, config.hidden)),
        MappedTensor("model.norm.weight", "output_norm.weight", (config.hidden,)),
    ]
    if not config.tied_embeddings:
        tensors.append(_output(config))
    for layer in range(config.layers):
        tensors += [
            MappedTensor(f"model.layers.{layer}.{source}", f"blk.{layer}.{target}", shape)
            for source, target, shape in _layer_tensors(config)
        ]
    return {tensor.source: tensor for tensor in tensors}


def map_tensors(config: ModelConfig, found: Mapping[str, Shape]) -> tuple[MappedTensor, ...]:
    """The tensors to convert, in the order in which the checkpoint holds them, which is that of convert_hf_to_gguf.py too.

    Raises:
        ConversionError: a tensor is missing, unexpected, or of another shape than config.json says.
    """
    expected = expected_tensors(config)
    if OUTPUT in found:  # some tied checkpoints carry the copy all the same
        expected[OUTPUT] = _output(config)
    wanted = [name for name in found if not name.endswith(_IGNORED_ENDING)]
    if missing := [name for name in expected if name not in found]:
        raise ConversionError(f"The checkpoint lacks {_some(missing)}.", hint="Download its missing shards again.")
    if unexpected := [name for name in wanted if name not in expected]:
        raise ConversionError(
            f"The checkpoint holds {_some(unexpected)}, unknown to Qwen2.",
            hint="Adapters must be merged, and quantized weights replaced by the original ones, before converting.",
        )
    for name in wanted:
        if found[name] != expected[name].shape:
            raise ConversionError(
                f"Tensor {name} has the shape {found[name]}, where config.json asks for {expected[name].shape}.",
                hint="config.json and the weights belong to different models: download the checkpoint again.",
            )
    return tuple(expected[name] for name in wanted)


def _output(config: ModelConfig) -> MappedTensor:
    return MappedTensor(OUTPUT, "output.weight", (config.vocabulary, config.hidden))


def _layer_tensors(config: ModelConfig) -> tuple[tuple[str, str, Shape], ...]:
    hidden, intermediate = config.hidden, config.intermediate
    queries, keys = config.query_width, config.key_value_width
    return (
        ("input_layernorm.weight", "attn_norm.weight", (hidden,)),
        ("self_attn.q_proj.weight", "attn_q.weight", (queries, hidden)),
        ("self_attn.q_proj.bias", "attn_q.bias", (queries,)),
        ("self_attn.k_proj.weight", "attn_k.weight", (keys, hidden)),
        ("self_attn.k_proj.bias", "attn_k.bias", (keys,)),
        ("self_attn.v_proj.weight", "attn_v.weight", (keys, hidden)),
        ("self_attn.v_proj.bias", "attn_v.bias", (keys,)),
        ("self_attn.o_proj.weight", "attn_output.weight", (hidden, queries)),
        ("post_attention_layernorm.weight", "ffn_norm.weight", (hidden,)),
        ("mlp.gate_proj.weight", "ffn_gate.weight", (intermediate, hidden)),
        ("mlp.up_proj.weight", "ffn_up.weight", (intermediate, hidden)),
        ("mlp.down_proj.weight", "ffn_down.weight", (hidden, intermediate)),
    )


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} tensors more"
