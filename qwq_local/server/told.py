"""What several formats tell of an answer: its ends, its tokens' probabilities, ids and times."""

from __future__ import annotations

import secrets
import time
from dataclasses import asdict
from typing import Final, Literal

from pydantic import BaseModel

from qwq_local.engine import Drawn, Finished

FINISH: Final[dict[str, Literal["stop", "length"]]] = {"stop": "stop", "length": "length", "repetition": "length", "cancelled": "stop"}
"""OpenAI has no word for an answer that was ended since it went round in circles; `qwq.ended_by` tells."""
LEAST_LOGPROB: Final = -9999.0
"""What OpenAI tells of tokens that are all but impossible."""


class Told(BaseModel):
    """A part of an answer."""


class RaceTold(Told):
    """What the samples of a choice came to, as `engine.RaceReport` has it: the winner's place, the tokens of all, the votes."""

    kind: Literal["race", "vote"]
    n_samples: int
    winner: int
    completion_tokens: int
    votes: dict[str, int]
    n_failed: int


class Extension(Told):
    """What OpenAI's format has no place for: why each choice ended, its scaling and seed, and where the time went, in seconds.

    `race` is there where several samples of each were written.
    """

    ended_by: list[str]
    rope: list[str]
    seed: list[int]
    queued_seconds: list[float]
    prefill_seconds: list[float]
    decode_seconds: list[float]
    race: list[RaceTold] | None = None


class TopLogprob(Told):
    """A token that could have been drawn."""

    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(TopLogprob):
    """A token that was drawn."""

    top_logprobs: list[TopLogprob]


def extension_of(ends: list[Finished]) -> Extension:
    """Of all choices, in their order."""
    races = [RaceTold(**asdict(end.race)) for end in ends if end.race]
    extension = Extension(
        ended_by=[end.reason for end in ends],
        rope=[end.rope for end in ends],
        seed=[end.seed for end in ends],
        queued_seconds=[round(end.timings.queued_seconds, 6) for end in ends],
        prefill_seconds=[round(end.timings.prefill_seconds, 6) for end in ends],
        decode_seconds=[round(end.timings.decode_seconds, 6) for end in ends],
    )
    return extension.model_copy(update={"race": races}) if races else extension


def logprob_of(drawn: Drawn) -> TokenLogprob:
    """A drawn token; bytes that are only a part of a character show as U+FFFD."""
    top = [
        TopLogprob(token=_text(piece), logprob=max(logprob, LEAST_LOGPROB), bytes=list(piece))
        for piece, (_, logprob) in zip(drawn.top_pieces, drawn.draw.top, strict=True)
    ]
    logprob = drawn.draw.logprob
    assert logprob is not None, "only tokens with one are told of"
    return TokenLogprob(token=_text(drawn.piece), logprob=max(logprob, LEAST_LOGPROB), bytes=list(drawn.piece), top_logprobs=top)


def new_id(kind: str) -> str:
    """An id that nobody else has."""
    separator = "-" if kind in ("chatcmpl", "cmpl") else "_"
    return f"{kind}{separator}{secrets.token_hex(12)}"


def now() -> int:
    """Seconds since 1970."""
    return int(time.time())


def _text(piece: bytes) -> str:
    return piece.decode("utf-8", "replace")
