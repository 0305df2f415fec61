"""Options that `ask`, `chat` and `serve` share. Defaults and ranges are those of settings.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar, get_args

import click

from qwq_local.cli.completing import values
from qwq_local.errors import SettingsError
from qwq_local.settings import KvType, LoadSettings, RopeWish, Sampling


@dataclass(frozen=True)
class ToolFlags:
    """Whose tools may be called, and which of them without asking. Raises SettingsError for tools that nobody offers."""

    servers: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    allows_all: bool = False

    def __post_init__(self) -> None:
        if not self.servers and (self.allowed or self.allows_all):
            flag = "--allow-tools" if self.allows_all else f"--allow-tool {self.allowed[0]}"
            raise SettingsError(f"{flag} is given, but no server of tools.", hint='Give one: --mcp "python server.py"')


Body = TypeVar("Body", bound=Callable[..., Any])

_MODEL: Final = (
    click.option(
        "-m",
        "--model",
        metavar="NAME",
        shell_complete=values.models,
        help="'demo', a name from qwq list, or the path of a .gguf. [default: the plan's choice]",
    ),
)
_PLACE: Final = (
    click.option(
        "--ctx",
        "n_ctx",
        type=int,
        metavar="N",
        help="Tokens of prompt and answer together. [default: what the model reads without YaRN, or what fits]",
    ),
    click.option("--gpu-layers", "n_gpu_layers", type=int, metavar="N", help="Layers to put on the GPU. [default: all that fit]"),
    click.option(
        "--kv-type",
        type=click.Choice([t for t in get_args(KvType) if t != "f32"]),
        help="Number format of the KV cache. [default: f16, or q8_0 where memory is short]",
    ),
    click.option(
        "--rope",
        type=click.Choice(get_args(RopeWish)),
        default=LoadSettings.rope,
        show_default=True,
        help="Position scaling; auto uses YaRN only for what is too long without.",
    ),
    click.option("--force", is_flag=True, help="Load it although the plan says that it does not fit."),
)
_SPECULATION: Final = (
    click.option(
        "--draft-model",
        metavar="NAME",
        shell_complete=values.models,
        help="A much smaller model of the same tokens, named as -m names one: it guesses ahead, and answers stay the model's own.",
    ),
    click.option(
        "--no-speculation",
        "speculates",
        is_flag=True,
        flag_value=False,
        default=True,
        help="Guess nothing ahead. By default guesses are read along where that was measured to be faster.",
    ),
)
_SAMPLING: Final = (
    click.option(
        "--temperature",
        type=float,
        default=Sampling.temperature,
        show_default=True,
        help="0 is greedy, which makes QwQ repeat itself.",
    ),
    click.option("--top-p", type=float, default=Sampling.top_p, show_default=True, help="Smallest set of tokens with this probability."),
    click.option("--top-k", type=int, default=Sampling.top_k, show_default=True, help="Only the K likeliest tokens; 0 for all."),
    click.option("--min-p", type=float, default=Sampling.min_p, show_default=True, help="Least probability, relative to the likeliest."),
    click.option(
        "--presence-penalty",
        type=float,
        default=Sampling.presence_penalty,
        show_default=True,
        help="Up to 2 works against repetition; high values mix languages.",
    ),
    click.option(
        "--hesitation-penalty",
        type=float,
        default=Sampling.hesitation_penalty,
        show_default=True,
        help="Against 'wait', 'alternatively' and the like in the thought; not measured here, 0.5 to 4 elsewhere.",
    ),
    click.option("--seed", type=int, metavar="N", help="For the same answer again. [default: a new one]"),
    click.option("--max-tokens", type=int, metavar="N", help="Longest answer, thoughts included. [default: what the context holds]"),
    click.option("--think-tokens", type=int, metavar="N", help="Longest thought; it is then closed and answered from. 0 answers at once."),
)
_SCORING: Final = (
    click.option("--ctx", "n_ctx", type=int, default=512, show_default=True, metavar="N", help="Tokens of a chunk."),
    click.option("--chunks", "max_chunks", type=int, metavar="N", help="Read only the first N chunks. [default: all]"),
    click.option("--gpu-layers", "n_gpu_layers", type=int, metavar="N", help="Layers to put on the GPU. [default: all that fit]"),
    click.option(
        "--kv-type",
        type=click.Choice([t for t in get_args(KvType) if t != "f32"]),
        help="Number format of MODEL's KV cache. [default: f16, or q8_0 where memory is short]",
    ),
    click.option("--force", is_flag=True, help="Load it although the plan says that it does not fit."),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
)
_TOOLS: Final = (
    click.option(
        "--mcp",
        "servers",
        multiple=True,
        metavar="SERVER",
        help="Tools to call: an MCP server's command or URL, or a JSON file. Repeatable.",
    ),
    click.option(
        "--allow-tool", "allowed", multiple=True, metavar="NAME", help="Call this tool without asking; * stands for anything. Repeatable."
    ),
    click.option("--allow-tools", "allows_all", is_flag=True, help="Call every tool without asking."),
)


def load_options(body: Body) -> Body:
    """How a model is loaded: its name, and fields of settings.LoadSettings."""
    return _apply((*_MODEL, *_PLACE), body)


def place_options(body: Body) -> Body:
    """The same without the name."""
    return _apply(_PLACE, body)


def speculation_options(body: Body) -> Body:
    """How what comes next is guessed: fields of settings.LoadSettings."""
    return _apply(_SPECULATION, body)


def sampling_options(body: Body) -> Body:
    """How tokens are drawn and an answer is given: fields of settings.Sampling and settings.AnswerSettings."""
    return _apply(_SAMPLING, body)


def tool_options(body: Body) -> Body:
    """Which tools may be called: fields of ToolFlags."""
    return _apply(_TOOLS, body)


def scoring_options(body: Body) -> Body:
    """How a text is read for its probabilities: fields of likelihood.ScoringSettings, and --json."""
    return _apply(_SCORING, body)


def take_load(options: dict[str, Any]) -> dict[str, Any]:
    """The arguments of QwQ.load, taken out of a command's options."""
    return {name: options.pop(name) for name in ("model", *LoadSettings.__dataclass_fields__) if name in options}


def take_tools(options: dict[str, Any]) -> ToolFlags:
    """The options about tools, taken out of a command's options. Raises SettingsError."""
    return ToolFlags(**{name: options.pop(name) for name in ToolFlags.__dataclass_fields__})


def given_options(context: click.Context) -> frozenset[str]:
    """The names of the options that stand on the command line."""
    return frozenset(name for name in context.params if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE)


def _apply(options: tuple[Callable[[Any], Any], ...], body: Body) -> Body:
    for option in reversed(options):
        body = option(body)
    return body
