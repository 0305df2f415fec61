"""Whether there is room for so many samples at once (pure)."""

from __future__ import annotations

from typing import Final

from qwq_local.errors import SettingsError
from qwq_local.settings import RaceSettings

LEAST_TOKENS: Final = 64
"""Of each sample: with fewer, not even the built-in model thinks and answers."""


def check_room(race: RaceSettings, n_parallel: int, n_ctx: int, prompt_tokens: int, max_tokens: int | None = None) -> None:
    """Raise SettingsError where there are too few slots, or too little of the context.

    The samples share the prompt and divide what is left of the `n_ctx` tokens; a sample may need no more than `max_tokens`.
    """
    name, wanted = race.name, race.n_samples
    if wanted > n_parallel:
        raise SettingsError(
            f"{name} is {wanted}, and {n_parallel} answers can be written at once.",
            hint=f"Use {name} {n_parallel}, or load the model for more: n_parallel={wanted}, qwq serve --parallel {wanted}.",
        )
    room = n_ctx - prompt_tokens
    n_fitting = room // min(LEAST_TOKENS, max_tokens or LEAST_TOKENS)
    if wanted > 1 and wanted > n_fitting:
        raise SettingsError(
            f"{name} is {wanted}, and the context of {n_ctx:,} tokens, {prompt_tokens:,} of them the prompt's, leaves {room // wanted:,} "
            f"for each sample: {max(1, n_fitting):,} fit.",
            hint=f"Use {name} {max(1, n_fitting)}, shorten the prompt, or load with a longer context: --ctx {2 * n_ctx}",
        )
