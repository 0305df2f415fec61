"""A conversation on its way to the engine: what may be chosen for its answer, and the request that it becomes (pure)."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NoReturn, TypedDict, TypeVar

from qwq_local.backend import Constraint, Rope
from qwq_local.engine import Request, ToolChoice, tool_constraint
from qwq_local.errors import ContextLengthError, SettingsError
from qwq_local.settings import MAX_SEED, AnswerSettings, RaceSettings, RopeWish, Sampling

Tools = Sequence[Mapping[str, Any]]
Settings = TypeVar("Settings", Sampling, AnswerSettings, RaceSettings)


class SamplingOptions(TypedDict, total=False):
    """The fields of `settings.Sampling`, as keyword arguments."""

    temperature: float
    top_p: float
    top_k: int
    min_p: float
    presence_penalty: float
    seed: int | None
    repeat_penalty: float
    frequency_penalty: float
    penalty_last_n: int
    typical_p: float
    top_n_sigma: float
    xtc_probability: float
    xtc_threshold: float
    dynatemp_range: float
    dynatemp_exponent: float
    dry_multiplier: float
    dry_base: float
    dry_allowed_length: int
    dry_penalty_last_n: int
    dry_sequence_breakers: tuple[str, ...]
    mirostat: int
    mirostat_tau: float
    mirostat_eta: float
    hesitation_penalty: float
    logit_bias: tuple[tuple[int, float], ...]
    n_logprobs: int | None


class AnswerOptions(SamplingOptions, total=False):
    """The fields of `settings.AnswerSettings` and `settings.RaceSettings` too, and what an answer must look like.

    `schema` is a JSON schema, `constraint` any other grammar, `tool_choice` as OpenAI has it; one of them at most. Without
    `parallel_tool_calls` an answer calls one tool at most.
    """

    max_tokens: int | None
    thinks: bool
    think_tokens: int | None
    stop: tuple[str, ...]
    stops_repetition: bool
    race: int
    vote: int
    schema: Mapping[str, Any] | None
    constraint: Constraint | None
    tool_choice: ToolChoice
    parallel_tool_calls: bool


@dataclass(frozen=True)
class AnswerWish:
    """Options of an answer sorted by what they are about, and checked."""

    sampling: Sampling
    answer: AnswerSettings
    constraint: Constraint | None
    race: RaceSettings

    @classmethod
    def of(cls, options: Mapping[str, Any], tools: Tools | None) -> AnswerWish:
        """Of `AnswerOptions`. Raises SettingsError, and PromptError for a tool choice that cannot be."""
        if unknown := options.keys() - AnswerOptions.__optional_keys__:
            raise SettingsError(f"There is no option {min(unknown)!r}.", hint="help(QwQ.stream) lists them.")
        race = _of(RaceSettings, options)
        constraint = _constraint(options, tools)
        if race.n_samples > 1 and (constraint or tools):
            _refuse(race, options, has_tools=bool(tools))
        return cls(_of(Sampling, options), _of(AnswerSettings, options), constraint, race)


@dataclass(frozen=True)
class Reach:
    """How long prompt and answer may be together, in tokens: natively, as loaded, and with the longest context of the model."""

    native_ctx: int
    n_ctx: int
    longest_ctx: int
    wish: RopeWish

    @property
    def longest(self) -> int:
        """What fits under the scaling that is wished for."""
        return min(self.n_ctx, self.native_ctx) if self.wish == "native" else self.n_ctx

    def rope(self, prompt_tokens: int) -> Rope:
        """The scaling to begin with: YaRN only where the prompt needs it (QwQ's fifth guideline), since it hurts short texts.

        An answer that outgrows the native context is gone on with under YaRN by the engine. Raises ContextLengthError where the prompt
        leaves no room for an answer.
        """
        if prompt_tokens >= self.longest:
            raise ContextLengthError(prompt_tokens, self.longest, self.native_ctx if self.wish == "native" else self.longest_ctx)
        if self.wish != "auto":
            return self.wish
        return "yarn" if prompt_tokens >= self.native_ctx else "native"


def make_request(
    tokens: tuple[int, ...], wish: AnswerWish, reach: Reach, *, opens_thinking: bool, calls_tools: bool, is_raw: bool = False
) -> Request:
    """The engine's request for a prompt. Raises ContextLengthError.

    Where nothing is thought, a penalty on hesitation is left out, so that it is not refused either where a vocabulary has no token for it.
    """
    rope = reach.rope(len(tokens))
    seed = wish.sampling.seed
    return Request(
        prompt=tokens,
        n_ctx=min(reach.n_ctx, reach.native_ctx) if rope == "native" else reach.n_ctx,
        rope=rope,
        opens_thinking=opens_thinking,
        sampling=wish.sampling if opens_thinking else replace(wish.sampling, hesitation_penalty=0.0),
        seed=secrets.randbelow(MAX_SEED + 1) if seed is None else seed,
        max_tokens=wish.answer.max_tokens,
        n_ctx_yarn=reach.n_ctx if reach.wish == "auto" and reach.longest_ctx > reach.native_ctx else 0,
        think_tokens=wish.answer.think_tokens,
        stop=wish.answer.stop,
        constraint=wish.constraint,
        calls_tools=calls_tools,
        stops_repetition=wish.answer.stops_repetition,
        is_raw=is_raw,
        # Who gives a seed wants the same answer again, to the last bit of its logits.
        speculates=seed is None,
    )


def _of(kind: type[Settings], options: Mapping[str, Any]) -> Settings:
    return kind(**{field.name: options[field.name] for field in fields(kind) if field.name in options})


def _refuse(race: RaceSettings, options: Mapping[str, Any], *, has_tools: bool) -> NoReturn:
    what, why = "a schema or grammar is to be followed", "Samples are compared as they end by themselves, and a schema ends them"
    if has_tools or options.get("tool_choice"):
        what, why = "tools may be called", "A sample that calls a tool has not answered yet"
    raise SettingsError(f"{race.name} is {race.n_samples}, and {what}.", hint=f"{why}: leave one of the two out.")


def _constraint(options: Mapping[str, Any], tools: Tools | None) -> Constraint | None:
    schema = options.get("schema")
    found = {
        "schema": None if schema is None else Constraint("json_schema", json.dumps(schema)),
        "constraint": options.get("constraint"),
        "tool_choice": tool_constraint(tools or (), options.get("tool_choice"), is_parallel=options.get("parallel_tool_calls", True)),
    }
    given = [name for name, constraint in found.items() if constraint is not None]
    if len(given) > 1:
        raise SettingsError(f"{' and '.join(given)} are both given.", hint="An answer can follow one of them.")
    return found[given[0]] if given else None
