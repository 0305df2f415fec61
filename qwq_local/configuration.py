"""What the user set once for all: the settings file (TOML) and the environment, turned into the dataclasses of settings.py.

A flag counts most, then a variable of the environment, then the file, then the defaults. The file is flat, its keys are the flags' names:

    model = "QwQ-32B:Q4_K_M"
    ctx = 16384
    temperature = 0.6
    models = "/data/models"

and each key is, in capitals behind QWQ_, a variable too: QWQ_CTX=16384. What is unknown is refused, so that no slip goes unseen.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from qwq_local.errors import SettingsError
from qwq_local.settings import AnswerSettings, LoadSettings, Sampling

PREFIX: Final = "QWQ_"
FILE_VARIABLE: Final = "QWQ_CONFIG"

Value: TypeAlias = int | float | str


class _Option(NamedTuple):
    """One key: the argument it sets, its type, and what refuses a value that cannot be (raising SettingsError)."""

    argument: str
    type: type[Value]
    check: Callable[[Any], object]


def _loading(argument: str, kind: type[Value]) -> _Option:
    return _Option(argument, kind, lambda value: LoadSettings(**{argument: value}))


def _sampling(argument: str, kind: type[Value]) -> _Option:
    return _Option(argument, kind, lambda value: Sampling(**{argument: value}))


def _answering(argument: str, kind: type[Value]) -> _Option:
    return _Option(argument, kind, lambda value: AnswerSettings(**{argument: value}))


_OPTIONS: Final[Mapping[str, _Option]] = {
    "model": _Option("model", str, str),
    "ctx": _loading("n_ctx", int),
    "gpu_layers": _loading("n_gpu_layers", int),
    "kv_type": _loading("kv_type", str),
    "rope": _loading("rope", str),
    "draft_model": _loading("draft_model", str),
    "temperature": _sampling("temperature", float),
    "top_p": _sampling("top_p", float),
    "top_k": _sampling("top_k", int),
    "min_p": _sampling("min_p", float),
    "presence_penalty": _sampling("presence_penalty", float),
    "hesitation_penalty": _sampling("hesitation_penalty", float),
    "seed": _sampling("seed", int),
    "max_tokens": _answering("max_tokens", int),
    "think_tokens": _answering("think_tokens", int),
    "host": _Option("host", str, str),
    "port": _Option("port", int, int),
    "parallel": _loading("n_parallel", int),
    "queue": _Option("n_queued", int, int),
    "api_key": _Option("api_key", str, str),
    "api_key_file": _Option("key_file", str, str),
    "idle_unload": _Option("idle_seconds", float, float),
    "log_format": _Option("log_format", str, str),
    "models": _Option("models", str, str),
    "data": _Option("data", str, str),
}
KEYS: Final = tuple(_OPTIONS)
"""Every key of the settings file."""

_FOLDERS: Final = ("models", "data")
_KINDS: Final = {int: "a whole number", float: "a number", str: "a text"}


@dataclass(frozen=True)
class Folders:
    """Where things are kept: model files, the user's data (history), and what can be made again."""

    models: Path
    data: Path
    cache: Path


@dataclass(frozen=True)
class Configuration:
    """All that file and environment say, with the defaults where they say nothing.

    `arguments` are only those that were said, by the name of the argument each sets: what click's `default_map` wants.
    """

    load: LoadSettings = field(default_factory=LoadSettings)
    sampling: Sampling = field(default_factory=Sampling)
    answer: AnswerSettings = field(default_factory=AnswerSettings)
    model: str | None = None
    arguments: Mapping[str, Value] = field(default_factory=dict)


def read_configuration(environment: Mapping[str, str] = os.environ) -> Configuration:
    """Read the file and the environment (by default, the process's own).

    A file that is not there says nothing. Raises SettingsError for a file that cannot be read, an unknown key, or a value that cannot be.
    """
    said = _said(environment)
    arguments = {_OPTIONS[key].argument: value for key, value in said.items() if key not in _FOLDERS}

    def among(*keys: str) -> dict[str, Any]:
        return {name: arguments[name] for name in keys if name in arguments}

    return Configuration(
        LoadSettings(**among(*LoadSettings.__dataclass_fields__)),
        Sampling(**among(*Sampling.__dataclass_fields__)),
        AnswerSettings(**among(*AnswerSettings.__dataclass_fields__)),
        **among("model"),
        arguments=arguments,
    )


def find_folders(environment: Mapping[str, str] = os.environ) -> Folders:
    """The folders: QWQ_MODELS and QWQ_DATA or the file's `models` and `data`, and else where the system keeps such things.

    Raises SettingsError as `read_configuration` does.
    """
    said = _said(environment)
    given = {name: _path(str(said[name])).absolute() for name in _FOLDERS if name in said}
    if "data" in given:
        data, cache = given["data"], given["data"] / "cache"
    else:
        from platformdirs import user_cache_path, user_data_path

        data, cache = user_data_path("qwq", appauthor=False), user_cache_path("qwq", appauthor=False)
    return Folders(given.get("models", data / "models"), data, cache)


def settings_file(environment: Mapping[str, str] = os.environ) -> Path:
    """The settings file's path, whether it is there or not: QWQ_CONFIG, or where the system keeps such files."""
    named = environment.get(FILE_VARIABLE)
    if named:
        return _path(named)
    from platformdirs import user_config_path

    return user_config_path("qwq", appauthor=False) / "config.toml"


def _path(text: str) -> Path:
    return Path(os.path.expanduser(text))  # noqa: PTH111 - Path.expanduser raises for an unknown user


def _said(environment: Mapping[str, str]) -> dict[str, Value]:
    """Every key that is set, checked; the environment goes over the file."""
    path = settings_file(environment)
    said: dict[str, Value] = {}
    for origin, key, raw in (*_in_file(path), *_in_environment(environment)):
        option = _OPTIONS[key]
        try:
            said[key] = value = _typed(key, raw, option.type)
            option.check(value)
        except SettingsError as error:
            raise SettingsError(f"{origin}: {error}", hint=error.hint) from error
    return said


def _in_file(path: Path) -> Iterator[tuple[str, str, object]]:
    """Origin, key and value of each line."""
    import tomllib

    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is no TOML: {error}.", hint="Each line is a key, =, and a value, with texts in quotes.") from error
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.", hint="Mend it, or name another file in QWQ_CONFIG.") from error
    for spelled, value in table.items():
        yield str(path), _known(spelled.replace("-", "_"), f"{path} sets {spelled!r}, which is unknown.", str), value


def _in_environment(environment: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Origin, key and text of each variable; an empty one says nothing."""
    for name, text in environment.items():
        if name.startswith(PREFIX) and name != FILE_VARIABLE and text:
            key = name.removeprefix(PREFIX).lower()
            yield name, _known(key, f"The environment sets {name}, which is unknown.", lambda near: PREFIX + near.upper()), text


def _known(key: str, complaint: str, spell: Callable[[str], str]) -> str:
    if key in _OPTIONS:
        return key
    near = get_close_matches(key, _OPTIONS, n=1)
    suggestion = f"Did you mean {spell(near[0])}? " if near else ""
    raise SettingsError(complaint, hint=f"{suggestion}Known: {', '.join(spell(known) for known in _OPTIONS)}.")


def _typed(key: str, raw: object, kind: type[Value]) -> Value:
    """The value as its type: text may spell a number, as it must in the environment; nothing else is converted."""
    converted: Value | None = None
    if isinstance(raw, str):
        with suppress(ValueError):
            converted = kind(raw)
    elif type(raw) is kind or (kind is float and type(raw) is int):
        converted = kind(raw)
    if converted is None:
        raise SettingsError(f"{key} is {raw!r}, where {_KINDS[kind]} is due.", hint=f"Set it to {_KINDS[kind]}, or leave it out.")
    return converted
