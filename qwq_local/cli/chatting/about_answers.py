"""The commands of a chat that change how it is answered: the model, its context, thinking, sampling, what goes with a question."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from qwq_local import card
from qwq_local.asking import AnswerWish
from qwq_local.cli.chatting.talk import Talk, read_text
from qwq_local.cli.terminal import one_line
from qwq_local.errors import SettingsError
from qwq_local.models.inventory import demo_model, local_models
from qwq_local.settings import SAMPLING_RANGES, AnswerSettings, RaceSettings, Sampling

_ADVICE: Final = {
    "temperature": f"QwQ: {card.TEMPERATURE}; 0 makes it repeat itself",
    "top_p": f"QwQ: {card.TOP_P}",
    "top_k": "QwQ: 20 to 40",
    "min_p": f"QwQ: {card.MIN_P:g}",
    "presence_penalty": "QwQ: 0 to 2 against repetition",
}
_DEFAULTS: Final[Mapping[str, Any]] = {
    **{field.name: field.default for field in fields(Sampling) if field.name in SAMPLING_RANGES and field.name != "n_logprobs"},
    "max_tokens": AnswerSettings.max_tokens,
    "think_tokens": AnswerSettings.think_tokens,
    "race": RaceSettings.race,
    "vote": RaceSettings.vote,
}
_USUAL: Final = (*_ADVICE, "seed", "max_tokens", "think_tokens")
"""Shown also where they are as they were."""


def model(talk: Talk, name: str) -> None:
    """`/model [NAME]`."""
    if not name:
        lines = [f"{'*' if found.name == talk.duty.name else ' '} {found.name}" for found in [*local_models(), demo_model()]]
        talk.face.tell("\n".join([*lines, "Another one: /model NAME"]))
        return
    draft_model = talk.duty.load.get("draft_model")
    talk.duty.change(talk.face.tell_progress, model=name, draft_model=None)
    _tell_loaded(talk)
    if draft_model:
        talk.face.tell(f"The draft model {one_line(draft_model)} was for the model before, and is not used any more.")


def context(talk: Talk, count: str) -> None:
    """`/ctx N`."""
    if not count:
        talk.face.tell(f"{talk.duty.n_ctx:,} tokens; another context: /ctx N")
        return
    n_ctx = _whole_number("ctx", count)
    talk.duty.change(talk.face.tell_progress, n_ctx=n_ctx)
    _tell_loaded(talk)


def think(talk: Talk, wish: str) -> None:
    """`/think N|on|off`."""
    options = {name: value for name, value in talk.session.options.items() if name not in ("thinks", "think_tokens")}
    if wish == "off":
        options["thinks"] = False
    elif wish and wish != "on":
        options["think_tokens"] = _whole_number("think", wish)
    if wish:
        _take(talk, options)
    options = talk.session.options
    budget = options.get("think_tokens")
    if not options.get("thinks", True):
        talk.face.tell("It answers without thinking.")
    else:
        talk.face.tell("It thinks as long as it wants." if budget is None else f"It thinks for {budget:,} tokens at most.")


def change(talk: Talk, words: str) -> None:
    """`/set [NAME VALUE]`."""
    name, _, value = words.partition(" ")
    name = name.replace("-", "_")
    if not name:
        talk.face.tell("\n".join(_settings(talk.session.options)))
        return
    if name not in _DEFAULTS:
        raise SettingsError(f"There is nothing called {name!r} to set.", hint=f"There are: {', '.join(_DEFAULTS)}.")
    if not value.strip():
        raise SettingsError(f"What should {name} be?", hint=f"Such as: /set {name} {_shown(_DEFAULTS[name])}")
    options = dict(talk.session.options)
    options.pop(name, None)
    if value.strip() != "default":
        options[name] = _parsed(name, value.strip())
    _take(talk, options)
    talk.face.tell(f"{name} is {_shown(options.get(name, _DEFAULTS[name]))}")


def system(talk: Talk, text: str) -> None:
    """`/system [TEXT]`."""
    if text:
        talk.session.set_system(text)
    talk.face.tell(f"The system message: {talk.session.system}" if talk.session.system else "There is no system message: /system TEXT")


def add_file(talk: Talk, name: str) -> None:
    """`/file PATH`."""
    if not name:
        raise SettingsError("Which file?", hint="Such as: /file notes.txt")
    text = read_text(name)
    talk.files.append(text)
    talk.face.tell(f"{one_line(name)}: {len(text):,} characters go with the next question.")


def tools(talk: Talk, _: str) -> None:
    """`/tools`."""
    found = [one_line(f"{tool['function']['name']}  {tool['function']['description']}") for tool in talk.toolbox.tools]
    talk.face.tell("\n".join(found) or "There are no tools; qwq chat --mcp SERVER offers some.")


def _tell_loaded(talk: Talk) -> None:
    notices = talk.duty.qwq.notices if talk.duty.qwq else []
    talk.face.tell("\n".join([f"{talk.duty.name}, {talk.duty.n_ctx:,} tokens of context", *(f"notice: {text}" for text in notices)]))


def _take(talk: Talk, options: Mapping[str, Any]) -> None:
    wish = AnswerWish.of(options, None)
    talk.session.set_options(options)
    if wish.sampling.warning:
        talk.face.tell(f"warning: {wish.sampling.warning}")


def _settings(options: Mapping[str, Any]) -> list[str]:
    names = [name for name in _DEFAULTS if name in _USUAL or options.get(name, _DEFAULTS[name]) != _DEFAULTS[name]]
    width = max(map(len, names))
    lines = [f"{name:{width}}  {_shown(options.get(name, _DEFAULTS[name])):12}{_ADVICE.get(name, '')}".rstrip() for name in names]
    return [*lines, "To change one: /set NAME VALUE, or /set NAME default"]


def _shown(value: object) -> str:
    return "not set" if value is None else str(value)


def _parsed(name: str, value: str) -> int | float:
    if not isinstance(_DEFAULTS[name], float):
        return _whole_number(name, value)
    try:
        return float(value)
    except ValueError as error:
        raise SettingsError(f"{name} is {value!r}, but must be a number.", hint=f"Such as: /set {name} {_DEFAULTS[name]}") from error


def _whole_number(name: str, value: str) -> int:
    try:
        return int(value.replace(",", ""))
    except ValueError as error:
        raise SettingsError(f"{name} is {value!r}, but must be a whole number.", hint="Such as 4096.") from error
