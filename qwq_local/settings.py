"""What a user may set, as small frozen dataclasses that refuse what cannot be. Defaults are QwQ's guidelines (card.py)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Final, Literal, get_args

from qwq_local import card
from qwq_local.errors import SettingsError

KvType = Literal["f32", "f16", "q8_0", "q4_0"]
"""Number format of the KV cache; f32 is for comparisons."""

RopeWish = Literal["auto", "native", "yarn"]
"""How positions are scaled: `auto` uses YaRN only where a request does not fit the native context."""

MAX_SEED: Final = 2**32 - 2
"""The next one, LLAMA_DEFAULT_SEED (include/llama.h), would be a new one each time."""

N_PARALLEL: Final = 4
"""Answers at once, unless something else is asked for."""
N_IDLE: Final = 12
"""Sequences beside those, for chats that wait for their next turn."""
MAX_SEQUENCES: Final = 256
"""LLAMA_MAX_SEQ (src/llama-cparams.h)."""
MAX_SAMPLES: Final = MAX_SEQUENCES - N_IDLE
"""Of one answer, at once."""


def _check_number(name: str, value: object, default: float | None) -> None:
    """A wrong type would be told by ctypes, in the engine's thread, without the name."""
    if value is None and default is None:
        return
    wanted, called = (Real, "a number") if isinstance(default, float) else (int, "a whole number")
    if isinstance(value, bool) or not isinstance(value, wanted):
        raise SettingsError(f"{name} is {value!r}, but must be {called}.", hint=f"Leave it out for {default}.")


def _shown(bound: float) -> str:
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"


def _check_range(name: str, value: float, low: float, high: float, hint: str) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        raise SettingsError(f"{name} is {value}, but must lie between {_shown(low)} and {_shown(high)}.", hint=hint)


def _check_count(name: str, count: int, most: int, what: str) -> None:
    if count > most:
        raise SettingsError(f"{name} has {count:,} {what}.", hint=f"At most {most:,} can be given.")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise SettingsError(f"{name} is {value!r}, which is unknown.", hint=f"Choose one of {', '.join(choices)}.")


SAMPLING_RANGES: Final[dict[str, tuple[float, float, str]]] = {
    "temperature": (0, 5, f"QwQ is meant to run at {card.TEMPERATURE}."),
    "top_p": (0, 1, f"QwQ is meant to run at {card.TOP_P}; 1 switches it off."),
    "top_k": (0, 2**31 - 1, "QwQ is meant to run at 20 to 40; 0 switches it off."),
    "min_p": (0, 1, f"QwQ is meant to run at {card.MIN_P:g}, which switches it off."),
    "presence_penalty": (-2, 2, "0 to 2 works against repetition."),
    "seed": (0, MAX_SEED, "Leave it out for a new one each time."),
    "repeat_penalty": (0.1, 10, "1 switches it off; 1.05 to 1.2 works against repetition."),
    "frequency_penalty": (-2, 2, "0 switches it off; above it works against repetition."),
    "penalty_last_n": (-1, 2**31 - 1, "It counts tokens; -1 looks back over the whole answer."),
    "typical_p": (0, 1, "1 switches it off."),
    "top_n_sigma": (0, 100, "0 switches it off; 1 is usual."),
    "xtc_probability": (0, 1, "0 switches it off; 0.5 is usual."),
    "xtc_threshold": (0, 1, "0.1 is usual; above 0.5 it has no effect."),
    "dynatemp_range": (0, 5, "0 switches it off; it is added to and taken from the temperature."),
    "dynatemp_exponent": (0.01, 10, "1 is usual."),
    "dry_multiplier": (0, 100, "0 switches it off; 0.8 is usual."),
    "dry_base": (1, 100, "1.75 is usual."),
    "dry_allowed_length": (1, 2**31 - 1, "It counts tokens; 2 is usual."),
    "dry_penalty_last_n": (-1, 2**31 - 1, "It counts tokens; -1 looks back over the whole answer."),
    "mirostat": (0, 2, "0 switches it off; 1 and 2 are its two versions."),
    "mirostat_tau": (0, 100, "5 is usual."),
    "mirostat_eta": (0, 1, "0.1 is usual."),
    "hesitation_penalty": (0, 100, "0 switches it off; 0.5 to 4 is what its authors tried."),
    "n_logprobs": (0, 20, "It counts the likeliest tokens to tell of at each place; leave it out for none."),
}
"""The lowest and the highest value of each number in Sampling, and a hint."""
MAX_STOPS: Final = 16
MAX_STOP_CHARACTERS: Final = 1000
MAX_BIASES: Final = 1024
MAX_BREAKERS: Final = 16
MAX_BREAKER_BYTES: Final = 40
"""Longer ones are cut short without a word (llama_sampler_init_dry, src/llama-sampler.cpp)."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn; by default only top_k, top_p and temperature do anything.

    The order is llama.cpp's, and QwQ's: hesitation_penalty, logit_bias, the penalties, dry, top_n_sigma, top_k, typical_p, top_p, min_p,
    xtc, temperature. `mirostat` 1 or 2 replaces all between dry and temperature, and temperature 0 all after dry. `hesitation_penalty` is
    subtracted from the logits of tokens such as "wait" and "alternatively" (`hesitation.py` has the words) while the request thinks;
    without a thought it does nothing. `logit_bias` pairs token ids with what is added to their logits, and penalties and dry look back
    `…_last_n` tokens of the answer. `n_logprobs` counts the likeliest tokens to be told of with each drawn one; 0 asks for that one's
    probability alone, None for nothing. What each sampler does: llama.cpp's include/llama.h, which llama-cpp-python installs beside its
    libraries.
    Raises SettingsError for a value out of its range, or that is no number.
    """

    temperature: float = card.TEMPERATURE
    top_p: float = card.TOP_P
    top_k: int = card.TOP_K
    min_p: float = card.MIN_P
    presence_penalty: float = card.PRESENCE_PENALTY
    seed: int | None = None
    repeat_penalty: float = 1.0
    frequency_penalty: float = 0.0
    penalty_last_n: int = -1
    typical_p: float = 1.0
    top_n_sigma: float = 0.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    dynatemp_range: float = 0.0
    dynatemp_exponent: float = 1.0
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = -1
    dry_sequence_breakers: tuple[str, ...] = ("\n", ":", '"', "*")
    mirostat: int = 0
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    hesitation_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    n_logprobs: int | None = None

    def __post_init__(self) -> None:
        for name, (low, high, hint) in SAMPLING_RANGES.items():
            value = getattr(self, name)
            _check_number(name, value, getattr(Sampling, name))
            if value is not None:
                _check_range(name, value, low, high, hint)
        _check_count("logit_bias", len(self.logit_bias), MAX_BIASES, "tokens")
        for token, bias in self.logit_bias:
            _check_number("a token of logit_bias", token, 0)
            _check_number(f"logit_bias of token {token}", bias, 0.0)
            _check_range(f"logit_bias of token {token}", bias, -100, 100, "-100 all but forbids a token, 100 all but forces it.")
        _check_count("dry_sequence_breakers", len(self.dry_sequence_breakers), MAX_BREAKERS, "texts")
        for text in self.dry_sequence_breakers:
            if not 1 <= len(text.encode("utf-8", "surrogatepass")) <= MAX_BREAKER_BYTES or "\0" in text:
                raise SettingsError(
                    f"dry_sequence_breakers has {text!r}, which cannot be one.", hint=f"Each is a text of 1 to {MAX_BREAKER_BYTES} bytes."
                )

    @property
    def warning(self) -> str:
        """Why these settings are a bad idea for QwQ, or nothing."""
        return card.GREEDY_WARNING if self.temperature == 0 else ""


@dataclass(frozen=True)
class AnswerSettings:
    """How an answer is given, whatever it is drawn with.

    `max_tokens` limits it, thoughts included, and `think_tokens` the thought; without `thinks` there is none. `stop` are texts that end the
    answer. `stops_repetition`: a thought that goes round in circles is closed, and an answer that does is ended. Raises SettingsError.
    """

    max_tokens: int | None = None
    thinks: bool = True
    think_tokens: int | None = None
    stop: tuple[str, ...] = ()
    stops_repetition: bool = True

    def __post_init__(self) -> None:
        check_max_tokens(self.max_tokens)
        if self.think_tokens is not None:
            _check_range("think-tokens", self.think_tokens, 0, 2**31 - 1, "It counts the tokens of the thought; 0 answers at once.")
        check_stop(self.stop)


@dataclass(frozen=True)
class LoadSettings:
    """How a model is loaded; None leaves the choice to the package.

    `n_ctx` counts tokens; `n_gpu_layers` counts layers, the output layer among them; `force` loads what does not fit; `n_parallel` answers
    share the context. `draft_model` names a smaller model that guesses what this one writes; no name, none. Where
    nothing `speculates` there are no guesses at all. Raises SettingsError.
    """

    n_ctx: int | None = None
    n_gpu_layers: int | None = None
    kv_type: KvType | None = None
    rope: RopeWish = "auto"
    force: bool = False
    n_parallel: int = N_PARALLEL
    draft_model: str | None = None
    speculates: bool = True

    def __post_init__(self) -> None:
        _check_range("parallel", self.n_parallel, 1, MAX_SEQUENCES - N_IDLE, "It counts the answers that are written at once.")
        if self.n_ctx is not None:
            _check_range("ctx", self.n_ctx, 16, 2**31 - 1, "It counts the tokens of prompt and answer together.")
        if self.n_gpu_layers is not None:
            _check_range("gpu-layers", self.n_gpu_layers, 0, 10_000, "0 keeps everything on the CPU.")
        if self.kv_type is not None:
            _check_choice("kv-type", self.kv_type, get_args(KvType))
        _check_choice("rope", self.rope, get_args(RopeWish))


@dataclass(frozen=True)
class RaceSettings:
    """How many samples of an answer are written at once, and which of them is handed on; 1 is the plain way.

    Of a `race` it is the first that ends by itself (short-1@k, arXiv 2505.17813), of a `vote` the first of those with the commonest result.
    Raises SettingsError.
    """

    race: int = 1
    vote: int = 1

    def __post_init__(self) -> None:
        for name in ("race", "vote"):
            _check_number(name, getattr(self, name), 1)
            _check_range(name, getattr(self, name), 1, MAX_SAMPLES, "It counts the samples of an answer; 1 is the plain way.")
        if self.race > 1 and self.vote > 1:
            raise SettingsError("race and vote are both given.", hint="The first sample can win, or the majority: leave one of them out.")

    @property
    def n_samples(self) -> int:
        """How many are written at once."""
        return max(self.race, self.vote)

    @property
    def name(self) -> Literal["race", "vote"]:
        """What it is called."""
        return "vote" if self.vote > 1 else "race"


def nth_seed(seed: int, index: int) -> int:
    """The seed of one of several answers to a prompt: each has one of its own, and that of the first gives all of them again."""
    return (seed + index) % (MAX_SEED + 1)


def check_max_tokens(max_tokens: int | None) -> None:
    """Raise SettingsError unless `max_tokens` is None or at least 1."""
    if max_tokens is not None and max_tokens < 1:
        raise SettingsError(f"max-tokens is {max_tokens}, but must be at least 1.", hint="Leave it out for no limit.")


def check_stop(stop: tuple[str, ...]) -> None:
    """Raise SettingsError unless each of at most MAX_STOPS texts could end an answer."""
    _check_count("stop", len(stop), MAX_STOPS, "texts")
    for text in stop:
        if not 1 <= len(text) <= MAX_STOP_CHARACTERS:
            raise SettingsError(
                f"stop has a text of {len(text):,} characters.", hint=f"Each must have 1 to {MAX_STOP_CHARACTERS:,} of them."
            )
