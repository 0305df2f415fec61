"""What a quantization's name means for each tensor: llama-quantize's own choice, and the sizes that follow."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from qwq_local.errors import SettingsError
from qwq_local.quants import BF16, F16, F32, QUANTIZATIONS, choose_types, find_quantization, needs_imatrix, tensor_bytes
from qwq_local.quants.tensor_types import IQ1_S, IQ2_XS, IQ4_NL, Q4_0, Q8_0
from tests.shapes import CONFIGS, OVERRIDES, QWQ_32B, shapes_of, summarize, traits_of

ORACLE = json.loads((Path(__file__).parent / "data" / "oracle_types.json").read_text(encoding="utf-8"))
"""What llama-quantize's dry run said (benchmarks/oracle_types.py); with an importance matrix or overrides where that matters."""

TRAITS = traits_of(CONFIGS["QwQ-32B"])

# Bytes of QwQ-32B's tensors, and with an importance matrix where that makes a difference.
SIZES_BYTES = {
    "BF16": (65_529_991_168, None),
    "Q8_0": (34_814_906_368, None),
    "Q6_K": (26_880_176_128, None),
    "Q5_K_M": (23_256_178_688, None),
    "Q5_K_S": (22_632_275_968, None),
    "Q4_K_M": (19_845_357_568, None),
    "Q4_K_S": (18_778_431_488, None),
    "IQ4_XS": (17_864_122_368, 17_687_175_168),
    "Q3_K_L": (17_241_100_288, None),
    "Q3_K_M": (15_929_069_568, None),
    "IQ3_M": (14_804_144_128, None),
    "Q3_K_S": (14_386_352_128, None),
    "IQ3_XXS": (13_408_370_688, 12_833_292_288),
    "Q2_K": (12_307_120_128, None),
}


def size_bytes(name: str, *, has_imatrix: bool) -> int:
    types = choose_types(QUANTIZATIONS[name], QWQ_32B, TRAITS, has_imatrix=has_imatrix)
    return sum(tensor_bytes(chosen, QWQ_32B[tensor]) for tensor, chosen in types.items())


@pytest.mark.parametrize("model", list(CONFIGS))
@pytest.mark.parametrize("way", ["", "imatrix", "overrides"])
def test_types_are_those_that_llama_quantize_chooses(model: str, way: str) -> None:
    config = CONFIGS[model]
    overrides = [(re.compile(pattern), chosen) for pattern, chosen in OVERRIDES] if way == "overrides" else []
    for name, quantization in QUANTIZATIONS.items():
        types = choose_types(quantization, shapes_of(config), traits_of(config), has_imatrix=way == "imatrix", overrides=overrides)
        assert summarize(types) == ORACLE[model].get(f"{name} {way}".strip(), ORACLE[model][name]), name


@pytest.mark.parametrize("name", list(SIZES_BYTES))
def test_qwq_32b_becomes_as_large_as_what_llama_quantize_makes_of_it(name: str) -> None:
    bare, with_imatrix = SIZES_BYTES[name]
    assert size_bytes(name, has_imatrix=False) == bare
    assert size_bytes(name, has_imatrix=True) == (with_imatrix or bare)


def test_vectors_and_norms_stay_f32_whatever_is_asked_for() -> None:
    overrides = [(re.compile("."), Q8_0)]
    for quantization in QUANTIZATIONS.values():
        types = choose_types(quantization, QWQ_32B, TRAITS, overrides=overrides)
        assert all(types[name] is F32 for name, shape in QWQ_32B.items() if len(shape) == 1)
        if not quantization.base.is_quantized:
            assert {types[name] for name, shape in QWQ_32B.items() if len(shape) == 2} == {quantization.base}


def test_the_order_of_the_file_does_not_matter() -> None:
    backwards = dict(reversed(QWQ_32B.items()))
    for quantization in QUANTIZATIONS.values():
        types = choose_types(quantization, backwards, TRAITS)
        assert list(types) == list(backwards)
        assert types == choose_types(quantization, QWQ_32B, TRAITS)


@pytest.mark.parametrize(("row_length", "expected"), [(256, IQ2_XS), (32 * 9, IQ4_NL), (100, F16)])
def test_rows_that_are_no_whole_number_of_blocks_fall_back(row_length: int, expected: object) -> None:
    overrides = [(re.compile("ffn_up"), IQ2_XS)]
    assert choose_types(QUANTIZATIONS["Q4_0"], {"blk.0.ffn_up.weight": (8, row_length)}, TRAITS, overrides=overrides) == {
        "blk.0.ffn_up.weight": expected
    }


NEEDY = {"IQ3_XS", "IQ3_XXS", "Q2_K_S", "IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S"}


def test_some_quantizations_need_an_importance_matrix() -> None:
    for name, quantization in QUANTIZATIONS.items():
        types = choose_types(quantization, QWQ_32B, TRAITS)
        assert (needs_imatrix(quantization, types) is not None) == (name in NEEDY), name
        assert needs_imatrix(quantization, types, covered=QWQ_32B) is None


def test_the_first_tensor_that_the_matrix_at_hand_lacks_is_named() -> None:
    quantization = QUANTIZATIONS["IQ2_XXS"]
    types = choose_types(quantization, QWQ_32B, TRAITS)
    assert needs_imatrix(quantization, types) == "blk.0.attn_q.weight"
    assert needs_imatrix(quantization, types, covered=QWQ_32B.keys() - {"blk.7.ffn_up.weight"}) == "blk.7.ffn_up.weight"


def test_embeddings_can_do_without_unless_the_type_cannot() -> None:
    quantization = QUANTIZATIONS["Q2_K_S"]
    assert needs_imatrix(quantization, {"token_embd.weight": quantization.base}) is None
    assert needs_imatrix(quantization, {"token_embd.weight": IQ1_S}) == "token_embd.weight"


def test_names_are_found_in_any_case_or_suggested() -> None:
    assert find_quantization("q4_k_m") is QUANTIZATIONS["Q4_K_M"]
    with pytest.raises(SettingsError) as caught:
        find_quantization("Q4_K")
    assert "Did you mean Q4_K_" in caught.value.hint


def test_file_types_are_all_different() -> None:
    assert len(QUANTIZATIONS) == 28
    assert len({quantization.file_type for quantization in QUANTIZATIONS.values()}) == 28


def test_a_row_that_is_no_whole_number_of_blocks_has_no_size() -> None:
    assert (Q4_0.row_bytes(64), BF16.row_bytes(3)) == (36, 6)
    with pytest.raises(ValueError, match="blocks of 32"):
        Q4_0.row_bytes(40)
