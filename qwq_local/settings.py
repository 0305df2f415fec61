"""What a user may set, as small frozen dataclasses that refuse what cannot be. Defaults are QwQ's guidelines (card.py)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, get_args

from qwq_local import card
from qwq_local.errors import SettingsError

KvType = Literal["f32", "f16", "q8_0", "q4_0"]
"""Number format of the KV cache; f32 is for comparisons."""

RopeWish = Literal["auto", "native", "yarn"]
"""How positions are scaled: `auto` uses YaRN only where a request does not fit the native context."""

MAX_SEED: Final = 2**32 - 1


def _check_range(name: str, value: float, low: float, high: float, hint: str) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        raise SettingsError(f"{name} is {value}, but must lie between {low:g} and {high:g}.", hint=hint)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise SettingsError(f"{name} is {value!r}, which is unknown.", hint=f"Choose one of {', '.join(choices)}.")


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn; applied in the order top_k, top_p, min_p, temperature.

    Raises SettingsError for a value out of its range.
    """

    temperature: float = card.TEMPERATURE
    top_p: float = card.TOP_P
    top_k: int = card.TOP_K
    min_p: float = card.MIN_P
    presence_penalty: float = card.PRESENCE_PENALTY
    seed: int | None = None

    def __post_init__(self) -> None:
        _check_range("temperature", self.temperature, 0, 5, f"QwQ is meant to run at {card.TEMPERATURE}.")
        _check_range("top_p", self.top_p, 0, 1, f"QwQ is meant to run at {card.TOP_P}; 1 switches it off.")
        _check_range("top_k", self.top_k, 0, 2**31 - 1, "QwQ is meant to run at 20 to 40; 0 switches it off.")
        _check_range("min_p", self.min_p, 0, 1, f"QwQ is meant to run at {card.MIN_P:g}, which switches it off.")
        _check_range("presence_penalty", self.presence_penalty, -2, 2, "0 to 2 works against repetition.")
        if self.seed is not None:
            _check_range("seed", self.seed, 0, MAX_SEED, "Leave it out for a new one each time.")

    @property
    def warning(self) -> str:
        """Why these settings are a bad idea for QwQ, or nothing."""
        return card.GREEDY_WARNING if self.temperature == 0 else ""


@dataclass(frozen=True)
class LoadSettings:
    """How a model is loaded; None leaves the choice to the package.

    `n_ctx` counts tokens; `n_gpu_layers` counts layers, the output layer among them; `force` loads what does not fit.
    Raises SettingsError.
    """

    n_ctx: int | None = None
    n_gpu_layers: int | None = None
    kv_type: KvType | None = None
    rope: RopeWish = "auto"
    force: bool = False

    def __post_init__(self) -> None:
        if self.n_ctx is not None:
            _check_range("ctx", self.n_ctx, 16, 2**31 - 1, "It counts the tokens of prompt and answer together.")
        if self.n_gpu_layers is not None:
            _check_range("gpu-layers", self.n_gpu_layers, 0, 10_000, "0 keeps everything on the CPU.")
        if self.kv_type is not None:
            _check_choice("kv-type", self.kv_type, get_args(KvType))
        _check_choice("rope", self.rope, get_args(RopeWish))


def check_max_tokens(max_tokens: int | None) -> None:
    """Raise SettingsError unless `max_tokens` is None or at least 1."""
    if max_tokens is not None and max_tokens < 1:
        raise SettingsError(f"max-tokens is {max_tokens}, but must be at least 1.", hint="Leave it out for no limit.")
