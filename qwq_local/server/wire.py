"""What all wire formats share of what is asked: how it is checked, the fields that several of them have, and what these mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from qwq_local.backend import Constraint
from qwq_local.server.json_body import check_depth
from qwq_local.settings import MAX_SAMPLES, MAX_SEED, MAX_STOP_CHARACTERS, MAX_STOPS, SAMPLING_RANGES

MAX_TOOLS: Final = 512

_EFFORTS: Final = {"none": 0, "minimal": 512, "low": 2048}
"""Tokens of thought for each `reasoning_effort`; the others leave it free."""
TEXT_ONLY: Final = "QwQ reads and writes text only"


class Wire(BaseModel):
    """A part of a request. What it does not name is refused, and so is what `refused` names, with the reason.

    Null says nothing: what need not be sent is an `X | None = None`, and what that means is said where the field is read.
    """

    model_config = ConfigDict(extra="forbid", strict=True)
    refused: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """As pydantic describes it; but null may stand under any name."""
        described = handler(core_schema)
        handler.resolve_ref_schema(described)["additionalProperties"] = {"type": "null"}
        return described

    @model_validator(mode="before")
    @classmethod
    def _refuse(cls, data: Any) -> Any:  # noqa: ANN401 - JSON of any shape
        if not isinstance(data, dict):
            return data
        for name, why in cls.refused.items():
            if data.get(name) is not None:
                raise unsupported(name, why)
        return {name: value for name, value in data.items() if value is not None}


def unsupported(name: str, why: str) -> PydanticCustomError:
    """The error for a field, or a value of one, that is known and not supported."""
    return PydanticCustomError("unsupported", "{name} is not supported: {why}.", {"name": name, "why": why})


def ranged(name: str) -> Any:  # noqa: ANN401 - pydantic's Field is typed so
    """A field of `settings.Sampling`, with its range."""
    low, high, hint = SAMPLING_RANGES[name]
    return Field(default=None, ge=low, le=high, description=hint)


Samples = Annotated[int, Field(ge=1, le=MAX_SAMPLES)]


class Samplers(Wire):
    """Numbers of `settings.Sampling` and `RaceSettings`, by their names there: those that every format has, or allows as extensions.

    A format that has more of them declares them likewise: `seed: Seed | None`, and the others as here.
    """

    temperature: float | None = ranged("temperature")
    top_p: float | None = ranged("top_p")
    top_k: int | None = ranged("top_k")
    min_p: float | None = ranged("min_p")
    repeat_penalty: float | None = ranged("repeat_penalty")
    penalty_last_n: int | None = ranged("penalty_last_n")
    typical_p: float | None = ranged("typical_p")
    top_n_sigma: float | None = ranged("top_n_sigma")
    xtc_probability: float | None = ranged("xtc_probability")
    xtc_threshold: float | None = ranged("xtc_threshold")
    dynatemp_range: float | None = ranged("dynatemp_range")
    dynatemp_exponent: float | None = ranged("dynatemp_exponent")
    dry_multiplier: float | None = ranged("dry_multiplier")
    dry_base: float | None = ranged("dry_base")
    dry_allowed_length: int | None = ranged("dry_allowed_length")
    dry_penalty_last_n: int | None = ranged("dry_penalty_last_n")
    dry_sequence_breakers: list[str] | None = None
    mirostat: int | None = ranged("mirostat")
    mirostat_tau: float | None = ranged("mirostat_tau")
    mirostat_eta: float | None = ranged("mirostat_eta")
    hesitation_penalty: float | None = ranged("hesitation_penalty")
    race: Samples | None = Field(default=None, description="Write so many samples at once; the first that ends is the answer")
    vote: Samples | None = Field(default=None, description="Write so many samples at once; what most of them come to is the answer")

    def sampling_options(self) -> dict[str, Any]:
        """All that were given, a format's own among them, as options of `QwQ.stream`; a seed of 64 bits becomes one of llama.cpp's."""
        told = given(**{name: getattr(self, name, None) for name in SAMPLING_RANGES})
        if "seed" in told:
            told["seed"] %= MAX_SEED + 1
        told |= given(race=self.race, vote=self.vote)
        return told | ({} if self.dry_sequence_breakers is None else {"dry_sequence_breakers": tuple(self.dry_sequence_breakers)})


def shallow(name: str) -> AfterValidator:
    """Of a field: what is nested too deeply is refused under this name. Raises ApiError."""
    return AfterValidator(partial(check_depth, name))


ModelName = Annotated[str, Field(max_length=1000, description="qwq-32b, or a name that GET /v1/models lists")]
Tokens = Annotated[int, Field(ge=1, le=2**31 - 1)]
Budget = Annotated[int, Field(ge=0, le=2**31 - 1)]
TopLogprobs = Annotated[int, Field(ge=0, le=20)]
Seed = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
StopText = Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARACTERS)]
Stops = Annotated[list[StopText], Field(max_length=MAX_STOPS)]
Schema = dict[str, Any]


def given(**options: Any) -> dict[str, Any]:  # noqa: ANN401 - options of any type
    """Those that are not None."""
    return {name: value for name, value in options.items() if value is not None}


def stop_option(stop: str | Sequence[str] | None) -> dict[str, Any]:
    """Texts that end an answer, as an option of `QwQ.stream`."""
    return given(stop=((stop,) if isinstance(stop, str) else tuple(stop or ())) or None)


def thought_options(budget: int | None, effort: str | None) -> dict[str, Any]:
    """Options of `QwQ.stream` for so many tokens of thought, none at 0, or where that is not said for such an effort."""
    if budget is None:
        budget = _EFFORTS.get(effort or "")
    return given(think_tokens=budget or None, thinks=False if budget == 0 else None)


def json_option(schema: Schema | None) -> dict[str, Any]:
    """The option of `QwQ.stream` for an answer that is JSON, after this schema where there is one."""
    return {"constraint": Constraint("json_object")} if schema is None else {"schema": schema}


class Function(Wire):
    """A function that a tool is."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
    description: str | None = None
    parameters: Annotated[Schema, shallow("parameters")] | None = None
    strict: bool | None = None

    def tool(self) -> dict[str, Any]:
        """As QwQ's template and its tool grammar want it."""
        return {"type": "function", "function": self.model_dump(exclude_none=True)}
