"""So many samples as there is room for, and not one more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwq_local.errors import SettingsError
from qwq_local.race.room import LEAST_TOKENS, check_room
from qwq_local.settings import RaceSettings


def test_more_than_the_slots_is_refused_with_what_fits() -> None:
    check_room(RaceSettings(race=4), 4, 32_768, 100)
    with pytest.raises(SettingsError, match="race is 5, and 4 answers can be written at once") as caught:
        check_room(RaceSettings(race=5), 4, 32_768, 100)
    assert "race 4" in caught.value.hint
    assert "--parallel 5" in caught.value.hint


def test_more_than_the_context_holds_is_refused_with_the_numbers() -> None:
    check_room(RaceSettings(vote=3), 8, 512, 300)
    with pytest.raises(SettingsError, match=r"vote is 4, and the context of 512 tokens, 300 of them the prompt's, leaves 53 .*: 3 fit"):
        check_room(RaceSettings(vote=4), 8, 512, 300)


def test_samples_that_may_be_short_need_less() -> None:
    check_room(RaceSettings(race=8), 8, 512, 400, max_tokens=10)


@given(st.integers(1, 244), st.integers(1, 244), st.integers(16, 10_000), st.integers(0, 9_999))
def test_one_sample_always_fits_and_what_is_said_to_fit_does(n_samples: int, n_parallel: int, n_ctx: int, prompt_tokens: int) -> None:
    prompt_tokens = min(prompt_tokens, n_ctx - 1)
    check_room(RaceSettings(), n_parallel, n_ctx, prompt_tokens)
    try:
        check_room(RaceSettings(race=n_samples), n_parallel, n_ctx, prompt_tokens)
    except SettingsError as error:
        n_fitting = int(error.hint.split("Use race ")[1].split(",")[0])
        assert 1 <= n_fitting < n_samples
        if n_samples <= n_parallel:
            check_room(RaceSettings(race=n_fitting), n_parallel, n_ctx, prompt_tokens)
    else:
        assert n_samples == 1 or (n_ctx - prompt_tokens) // n_samples >= LEAST_TOKENS
