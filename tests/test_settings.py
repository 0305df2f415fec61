"""What a user may set, and what is refused by name and value."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwq_local import card
from qwq_local.errors import SettingsError
from qwq_local.settings import MAX_SEED, SAMPLING_RANGES, LoadSettings, Sampling, check_max_tokens

RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0, 5),
    "top_p": (0, 1),
    "top_k": (0, 2**31 - 1),
    "min_p": (0, 1),
    "presence_penalty": (-2, 2),
    "seed": (0, MAX_SEED),
    "repeat_penalty": (0.1, 10),
    "frequency_penalty": (-2, 2),
    "penalty_last_n": (-1, 2**31 - 1),
    "typical_p": (0, 1),
    "top_n_sigma": (0, 100),
    "xtc_probability": (0, 1),
    "xtc_threshold": (0, 1),
    "dynatemp_range": (0, 5),
    "dynatemp_exponent": (0.01, 10),
    "dry_multiplier": (0, 100),
    "dry_base": (1, 100),
    "dry_allowed_length": (1, 2**31 - 1),
    "dry_penalty_last_n": (-1, 2**31 - 1),
    "mirostat": (0, 2),
    "mirostat_tau": (0, 100),
    "mirostat_eta": (0, 1),
    "hesitation_penalty": (0, 100),
    "n_logprobs": (0, 20),
}
WHOLE = ("top_k", "seed", "penalty_last_n", "dry_allowed_length", "dry_penalty_last_n", "mirostat", "n_logprobs")


def test_every_number_has_its_range_here() -> None:
    assert RANGES.keys() == SAMPLING_RANGES.keys()


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("value", [None, "1", True, 1.5])
def test_what_is_no_such_number_is_refused_by_name(name: str, value: Any) -> None:
    if (value is None and getattr(Sampling, name) is None) or (value == 1.5 and name not in WHOLE):
        return
    called = "a whole number" if name in WHOLE else "a number"
    with pytest.raises(SettingsError, match=f"^{name} is {value!r}, but must be {called}") as caught:
        Sampling(**{name: value})
    assert caught.value.hint


def test_the_defaults_are_qwqs_guidelines() -> None:
    default = Sampling()
    assert (default.temperature, default.top_p, default.top_k, default.min_p) == (0.6, 0.95, 40, 0)
    assert (default.presence_penalty, default.seed, default.warning) == (0, None, "")
    assert (default.hesitation_penalty, default.logit_bias, default.n_logprobs) == (0, (), None)


@pytest.mark.parametrize("name", RANGES)
@given(data=st.data())
def test_every_value_in_its_range_is_taken(name: str, data: st.DataObject) -> None:
    low, high = RANGES[name]
    values: st.SearchStrategy[float] = st.integers(int(low), int(high)) if name in WHOLE else st.floats(low, high)
    value = data.draw(st.sampled_from([low, high]) | values)
    assert getattr(Sampling(**{name: value}), name) == value  # type: ignore[arg-type]


@pytest.mark.parametrize("name", RANGES)
@given(data=st.data())
def test_a_value_out_of_its_range_is_refused_by_name_and_value(name: str, data: st.DataObject) -> None:
    low, high = RANGES[name]
    step = 1 if name in WHOLE else 1e-9
    outside: st.SearchStrategy[float] = (
        st.integers(max_value=int(low) - 1) | st.integers(min_value=int(high) + 1)
        if name in WHOLE
        else st.floats(max_value=low - step) | st.floats(min_value=high + step) | st.just(math.nan)
    )
    value = data.draw(outside)
    with pytest.raises(SettingsError) as caught:
        Sampling(**{name: value})  # type: ignore[arg-type]
    assert str(caught.value).startswith(f"{name} is {value}, but must lie between")
    assert caught.value.hint


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["temperature", "top_p", "min_p", "presence_penalty", "hesitation_penalty"])
def test_no_number_is_refused(name: str, value: float) -> None:
    with pytest.raises(SettingsError, match=name):
        Sampling(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"logit_bias": ((7.5, 1.0),)}, "a token of logit_bias is 7.5,"),
        ({"logit_bias": ((7, "1"),)}, "logit_bias of token 7 is '1',"),
        ({"logit_bias": ((7, 100.5),)}, "logit_bias of token 7 is 100.5,"),
        ({"logit_bias": ((1, 0.0), (7, -math.inf))}, "logit_bias of token 7 is -inf,"),
        ({"logit_bias": tuple((token, 1.0) for token in range(1025))}, "logit_bias has 1,025 tokens"),
        ({"dry_sequence_breakers": ("\n", "")}, "dry_sequence_breakers has ''"),
        ({"dry_sequence_breakers": ("é" * 21,)}, "dry_sequence_breakers has 'é"),
        ({"dry_sequence_breakers": ("a\0b",)}, "dry_sequence_breakers has 'a\\x00b'"),
        ({"dry_sequence_breakers": ("x",) * 17}, "dry_sequence_breakers has 17 texts"),
    ],
)
def test_a_list_in_a_sampling_is_checked_item_by_item(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Sampling(**wrong)
    assert str(caught.value).startswith(says)
    assert caught.value.hint


def test_greedy_is_warned_of_with_the_reason_and_the_better_value() -> None:
    warning = Sampling(temperature=0).warning
    assert warning == card.GREEDY_WARNING
    assert "repeat" in warning
    assert "0.6" in warning
    assert Sampling(temperature=0.01).warning == ""


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"n_ctx": 15}, "ctx is 15,"),
        ({"n_ctx": 0}, "ctx is 0,"),
        ({"n_ctx": -1}, "ctx is -1,"),
        ({"n_ctx": 2**31}, f"ctx is {2**31},"),
        ({"n_gpu_layers": -1}, "gpu-layers is -1,"),
        ({"n_gpu_layers": 10_001}, "gpu-layers is 10001,"),
        ({"kv_type": "q5_0"}, "kv-type is 'q5_0',"),
        ({"kv_type": ""}, "kv-type is '',"),
        ({"rope": "linear"}, "rope is 'linear',"),
        ({"rope": "YARN"}, "rope is 'YARN',"),
    ],
)
def test_a_load_setting_that_cannot_be_is_refused_by_name_and_value(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        LoadSettings(**wrong)
    assert str(caught.value).startswith(says)
    assert caught.value.hint


@pytest.mark.parametrize("kv_type", ["f32", "f16", "q8_0", "q4_0"])
@pytest.mark.parametrize("rope", ["auto", "native", "yarn"])
def test_every_choice_is_taken(kv_type: Any, rope: Any) -> None:
    made = LoadSettings(n_ctx=16, n_gpu_layers=0, kv_type=kv_type, rope=rope)
    assert (made.kv_type, made.rope) == (kv_type, rope)


def test_an_unknown_choice_is_told_those_there_are() -> None:
    with pytest.raises(SettingsError) as caught:
        LoadSettings(rope="linear")  # type: ignore[arg-type]
    assert caught.value.hint == "Choose one of auto, native, yarn."


@pytest.mark.parametrize("max_tokens", [None, 1, 10**9])
def test_any_limit_of_a_token_or_more_is_taken(max_tokens: int | None) -> None:
    check_max_tokens(max_tokens)


@pytest.mark.parametrize("max_tokens", [0, -1])
def test_a_limit_below_one_token_is_refused(max_tokens: int) -> None:
    with pytest.raises(SettingsError, match=f"max-tokens is {max_tokens}"):
        check_max_tokens(max_tokens)


def test_the_bounds_of_whole_numbers_are_told_whole() -> None:
    with pytest.raises(SettingsError, match=r"ctx is -4, but must lie between 16 and 2,147,483,647\."):
        LoadSettings(n_ctx=-4)
    with pytest.raises(SettingsError, match=r"between 0\.1 and 10\."):
        Sampling(repeat_penalty=99.0)
