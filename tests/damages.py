"""Damaged checkpoints, each named for its fault."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

from tests.checkpoints import (
    ATTENTION,
    FIRST,
    INDEX,
    NANO,
    SECOND,
    Damage,
    drop,
    edit,
    edit_header,
    in_turn,
    overwrite,
    put,
    put_weight,
    remove_tensor,
    rename_tensor,
)


def _shrink(path: str, n_bytes: int) -> Damage:
    return lambda folder: (folder / path).write_bytes((folder / path).read_bytes()[:-n_bytes])


def _entry(**values: object) -> Damage:
    return edit_header(lambda header: header[ATTENTION].update(values))


def _tokenizer_model(**values: object) -> Damage:
    return edit("tokenizer.json", lambda tokenizer: tokenizer["model"].update(values))


def _vocab(**values: object) -> Damage:
    return edit("tokenizer.json", lambda tokenizer: tokenizer["model"]["vocab"].update(values))


def put_surrogate(folder: Path) -> None:
    """A token that no UTF-8 can hold."""
    edit("tokenizer.json", lambda tokenizer: tokenizer["model"]["vocab"].pop(next(iter(tokenizer["model"]["vocab"]))))(folder)
    _vocab(**{"\ud800": 0})(folder)


DAMAGES: dict[str, tuple[Damage, str]] = {
    "folder_missing": (shutil.rmtree, "is no folder"),
    "config_missing": (drop("config.json"), "has no config.json"),
    "config_is_a_folder": (in_turn(drop("config.json"), lambda folder: (folder / "config.json").mkdir()), "cannot be read"),
    "config_not_json": (overwrite("config.json", '{"hidden_size": '), "no valid JSON"),
    "config_not_utf8": (overwrite("config.json", b"\xff\xfe{}"), "no valid JSON"),
    "config_a_list": (overwrite("config.json", "[]"), "no JSON object"),
    "config_key_twice": (overwrite("config.json", '{"a": 1, "a": 2}'), "'a' is given twice"),
    "config_too_deep": (overwrite("config.json", "[" * 200_000), "no valid JSON"),
    "other_model_type": (put("config.json", model_type="llama"), "model_type is 'llama'"),
    "other_architecture": (put("config.json", architectures=["Qwen2Model"]), "Qwen2Model"),
    "quantized_already": (put("config.json", quantization_config={"quant_method": "gptq"}), "'gptq'"),
    "sliding_window": (put("config.json", use_sliding_window=True), "use_sliding_window"),
    "hidden_size_missing": (edit("config.json", lambda config: config.pop("hidden_size")), "hidden_size is None"),
    "hidden_size_a_text": (put("config.json", hidden_size="256"), "hidden_size is '256'"),
    "layers_beyond_reason": (put("config.json", num_hidden_layers=10**9), "num_hidden_layers"),
    "heads_negative": (put("config.json", num_attention_heads=-4), "num_attention_heads is -4"),
    "heads_not_dividing": (put("config.json", num_attention_heads=3, num_key_value_heads=1), "num_attention_heads is 3"),
    "key_value_heads_not_dividing": (put("config.json", num_key_value_heads=3), "num_key_value_heads is 3"),
    "rope_linear": (put("config.json", rope_scaling={"type": "linear", "factor": 2}), "'linear'"),
    "rope_a_text": (put("config.json", rope_parameters="yarn"), "rope_parameters is 'yarn'"),
    "yarn_without_factor": (put("config.json", rope_scaling={"type": "yarn"}), "factor is None"),
    "epsilon_not_a_number": (overwrite("config.json", (NANO / "config.json").read_text().replace("1e-06", "NaN")), "rms_norm_eps is nan"),
    "tied_a_text": (put("config.json", tie_word_embeddings="no"), "tie_word_embeddings is 'no'"),
    "no_weights": (in_turn(drop(INDEX), drop(FIRST), drop(SECOND)), "no model*.safetensors"),
    "shard_missing": (drop(SECOND), f"lacks the shard {SECOND}"),
    "shard_missing_without_index": (in_turn(drop(INDEX), drop(SECOND)), "lacks model.norm.weight"),
    "shard_empty": (overwrite(FIRST, b""), "has 0 bytes"),
    "shard_truncated_in_length": (overwrite(FIRST, b"\x01\x02\x03"), "has 3 bytes"),
    "shard_truncated_in_header": (lambda folder: overwrite(FIRST, (folder / FIRST).read_bytes()[:500])(folder), "has 500 bytes"),
    "shard_truncated_in_data": (_shrink(FIRST, 100), "its tensors end at"),
    "shard_longer": (lambda folder: overwrite(FIRST, (folder / FIRST).read_bytes() + b"\0")(folder), "its tensors end at"),
    "header_claims_exabytes": (overwrite(FIRST, struct.pack("<Q", 2**60) + b"{}"), "claims"),
    "header_not_json": (overwrite(FIRST, struct.pack("<Q", 4) + b"{no}"), "no valid JSON"),
    "header_a_list": (overwrite(FIRST, struct.pack("<Q", 2) + b"[]"), "no JSON object"),
    "header_entry_a_number": (edit_header(lambda header: header.update({ATTENTION: 7})), "its header says 7"),
    "offsets_beyond_the_file": (_entry(data_offsets=[10**12, 10**12 + 65536]), "begins at byte"),
    "offsets_overlapping": (_entry(data_offsets=[0, 65536]), "begins at byte"),
    "offsets_negative": (_entry(data_offsets=[-65536, 0]), "bytes are due"),
    "offsets_reversed": (_entry(data_offsets=[65536, 0]), "bytes are due"),
    "shape_lies": (_entry(shape=[2**40, 2**40]), "bytes are due"),
    "shape_negative": (_entry(shape=[-128, -256]), "the shape [-128, -256]"),
    "shape_of_truths": (_entry(shape=[True, 32768]), "the shape [True, 32768]"),
    "shape_empty": (_entry(shape=[]), "the shape []"),
    "shape_transposed": (_entry(shape=[256, 128]), "(256, 128), where config.json asks for (128, 256)"),
    "dtype_int8": (_entry(dtype="I8"), "has the dtype I8"),
    "tensor_missing": (remove_tensor, f"lacks {ATTENTION}"),
    "tensor_renamed": (rename_tensor, "model.layers.0.input_layernorm.weight"),
    "tensor_in_two_shards": (lambda folder: (folder / SECOND).write_bytes((folder / FIRST).read_bytes()), "is in"),
    "more_layers_in_config": (put("config.json", num_hidden_layers=4), "tensors more"),
    "fewer_layers_in_config": (put("config.json", num_hidden_layers=2), "unknown to Qwen2"),
    "index_without_map": (overwrite(INDEX, "{}"), "no weight_map"),
    "index_leaving_the_folder": (
        edit(INDEX, lambda index: index["weight_map"].update({ATTENTION: "../" + FIRST})),
        "no file's name",
    ),
    "index_of_another_model": (edit(INDEX, lambda index: index["weight_map"].update({ATTENTION: SECOND})), f"it is in {FIRST}"),
    "index_incomplete": (edit(INDEX, lambda index: index["weight_map"].pop(ATTENTION)), "into no shard"),
    "weight_nan": (put_weight(0x7FC0), f"{ATTENTION} holds a weight that is NaN"),
    "weight_infinite": (put_weight(0xFF80), f"{ATTENTION} holds a weight that is NaN or infinite"),
    "weight_too_large_for_half": (put_weight(0x4790), "too large for F16"),
    "tokenizer_missing": (drop("tokenizer.json"), "has no tokenizer.json"),
    "tokenizer_unigram": (_tokenizer_model(type="Unigram"), "Unigram"),
    "tokenizer_of_deepseek": (put("tokenizer.json", pre_tokenizer={"type": "Whitespace"}), "pre-tokenizer"),
    "tokenizer_without_pretokenizer": (put("tokenizer.json", pre_tokenizer=None), "pre-tokenizer"),
    "tokenizer_lowercases": (put("tokenizer.json", normalizer={"type": "Lowercase"}), "normalizer"),
    "tokenizer_adds_bos": (
        put("tokenizer.json", post_processor={"type": "TemplateProcessing", "single": [{"SpecialToken": {}}, {"Sequence": {}}]}),
        "post_processor",
    ),
    "vocabulary_missing": (_tokenizer_model(vocab={}), "no vocabulary"),
    "vocabulary_larger_than_embeddings": (_vocab(extra=512), "vocab_size is 512"),
    "vocabulary_id_negative": (_vocab(extra=-1), "'extra' has the id -1"),
    "vocabulary_id_twice": (_vocab(extra=7), "same id"),
    "vocabulary_surrogate": (put_surrogate, "cannot be written"),
    "added_token_contradicts": (
        edit("tokenizer.json", lambda tokenizer: tokenizer["added_tokens"][0].update(content="<|other|>")),
        "503 is both",
    ),
    "added_token_a_number": (edit("tokenizer.json", lambda tokenizer: tokenizer["added_tokens"].append(5)), "no list of objects"),
    "merges_missing": (_tokenizer_model(merges=[]), "no merges"),
    "merges_beyond_the_vocabulary": (_tokenizer_model(merges=["a b", "ab zz"]), "it merges 'a"),
    "merges_of_three": (_tokenizer_model(merges=[["a", "b", "c"]]), "merge"),
    "eos_beyond_vocabulary": (
        in_turn(put("tokenizer_config.json", eos_token=None), put("config.json", eos_token_id=9999)),
        "9999",
    ),
    "template_a_list": (put("tokenizer_config.json", chat_template=[{"name": "default"}]), "a list for chat_template"),
    "template_not_utf8": (
        in_turn(edit("tokenizer_config.json", lambda config: config.pop("chat_template")), overwrite("chat_template.jinja", b"\xff")),
        "chat_template.jinja",
    ),
    "sampling_a_text": (put("generation_config.json", temperature="warm"), "general.sampling.temp cannot be 'warm'"),
    "sampling_beyond_32_bits": (put("generation_config.json", top_k=2**40), "cannot be written"),
    "generation_config_not_json": (overwrite("generation_config.json", "{"), "generation_config.json is no valid JSON"),
    "card_not_yaml": (overwrite("README.md", "---\nlicense: [\n---\n"), "front matter"),
    "sampling_not_finite": (put("generation_config.json", top_p=float("nan")), "general.sampling.top_p cannot be nan"),
    "card_licences_numbers": (overwrite("README.md", "---\nlicense: [1, 2]\n---\n"), "front matter"),
    "card_base_model_of_nothing": (overwrite("README.md", "---\nbase_model: [{name: 7}]\n---\n"), "cannot be 7"),
    "card_not_utf8": (overwrite("README.md", b"---\n\xff\n---\n"), "front matter"),
    "card_licence_a_number": (overwrite("README.md", "---\nlicense: 2\n---\n"), "general.license cannot be 2"),
}
"""Name of the fault: how it is made, and what the error must name."""
