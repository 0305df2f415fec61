"""Settings from the file and the environment: what goes over what, and what is refused."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwq_local.cli import _CONFIGURED
from qwq_local.configuration import _FOLDERS, _OPTIONS, Configuration, Folders, find_folders, read_configuration, settings_file
from qwq_local.errors import SettingsError
from qwq_local.settings import LoadSettings, Sampling

EVERY_KEY = """
model = "QwQ-32B:Q4_K_M"
ctx = 16384
gpu-layers = 40
kv_type = "q8_0"
rope = "native"
temperature = 1
top_p = 0.9
top_k = 20
min_p = 0.05
presence_penalty = 1.5
hesitation_penalty = 2
seed = 7
max_tokens = 100
draft_model = "QwQ-Draft:Q8_0"
models = "/data/models"
data = "/data/qwq"
"""


def read(folder: Path, text: str = "", **environment: str) -> Configuration:
    file = folder / "config.toml"
    file.write_text(text, "utf-8")
    return read_configuration({"QWQ_CONFIG": str(file), **environment})


def test_nothing_said_gives_the_defaults(tmp_path: Path) -> None:
    assert read(tmp_path) == Configuration()
    assert read_configuration({"QWQ_CONFIG": str(tmp_path / "none.toml")}) == Configuration()


def test_every_key_of_the_file_reaches_its_setting(tmp_path: Path) -> None:
    made = read(tmp_path, EVERY_KEY)
    assert made.load == LoadSettings(16_384, 40, "q8_0", "native", draft_model="QwQ-Draft:Q8_0")
    assert made.sampling == Sampling(1.0, 0.9, 20, 0.05, 1.5, 7, hesitation_penalty=2.0)
    assert (made.model, made.answer.max_tokens) == ("QwQ-32B:Q4_K_M", 100)
    assert made.arguments["n_ctx"] == 16_384
    assert "models" not in made.arguments
    assert find_folders({"QWQ_CONFIG": str(tmp_path / "config.toml")}) == Folders(
        Path("/data/models"), Path("/data/qwq"), Path("/data/qwq/cache")
    )


def test_every_key_is_a_variable_too(tmp_path: Path) -> None:
    variables = {
        f"QWQ_{name.strip().replace('-', '_').upper()}": value.strip().strip('"')
        for name, _, value in (line.partition("=") for line in EVERY_KEY.strip().splitlines())
    }
    assert read(tmp_path, **variables) == read(tmp_path, EVERY_KEY)


def test_the_environment_goes_over_the_file_and_an_empty_variable_says_nothing(tmp_path: Path) -> None:
    made = read(tmp_path, "ctx = 4096\ntop_k = 20", QWQ_CTX="8192", QWQ_TOP_K="")
    assert (made.load.n_ctx, made.sampling.top_k) == (8192, 20)


@pytest.mark.parametrize(
    ("text", "says", "hints"),
    [
        ("temprature = 1", "sets 'temprature', which is unknown", "Did you mean temperature?"),
        ("[load]\nctx = 1", "sets 'load', which is unknown", "Known: model, ctx"),
        ("ctx = true", "ctx is True, where a whole number is due", "leave it out"),
        ("ctx = 4096.0", "ctx is 4096.0, where a whole number is due", "leave it out"),
        ('temperature = "hot"', "temperature is 'hot', where a number is due", "leave it out"),
        ("model = 5", "model is 5, where a text is due", "leave it out"),
        ("ctx = [1]", "ctx is [1], where a whole number is due", "leave it out"),
        ("hesitation_penalty = -1", "hesitation_penalty is -1.0, but must lie between 0 and 100", "0 switches it off"),
        ("temperature = 9", "temperature is 9.0, but must lie between 0 and 5", "0.6"),
        ("kv_type = 'q5'", "kv-type is 'q5', which is unknown", "f16"),
        ("max_tokens = 0", "max-tokens is 0, but must be at least 1", "no limit"),
        ("ctx = ", "is no TOML", "in quotes"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(tmp_path: Path, text: str, says: str, hints: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, text)
    assert says in str(caught.value)
    assert str(tmp_path / "config.toml") in str(caught.value)
    assert hints in caught.value.hint


def test_a_wrong_variable_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="QWQ_CTXX, which is unknown") as caught:
        read(tmp_path, QWQ_CTXX="1")
    assert "Did you mean QWQ_CTX?" in caught.value.hint
    with pytest.raises(SettingsError, match="QWQ_SEED: seed is 'x', where a whole number is due"):
        read(tmp_path, QWQ_SEED="x")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        read_configuration({"QWQ_CONFIG": str(tmp_path)})
    (tmp_path / "latin.toml").write_bytes(b"model = '\xe9'")
    with pytest.raises(SettingsError, match="is no TOML"):
        read_configuration({"QWQ_CONFIG": str(tmp_path / "latin.toml")})


def test_folders_are_where_the_system_keeps_such_things_unless_named(tmp_path: Path) -> None:
    usual = find_folders({})
    assert usual.models == usual.data / "models"
    assert usual.cache != usual.data
    named = find_folders({"QWQ_MODELS": "~/m", "QWQ_DATA": str(tmp_path), "QWQ_CONFIG": str(tmp_path / "c")})
    assert named == Folders(Path.home() / "m", tmp_path, tmp_path / "cache")
    assert settings_file({}).name == "config.toml"


values: st.SearchStrategy[Any] = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers())


@given(st.dictionaries(st.sampled_from(["ctx", "temperature", "seed", "model", "rope", "top_k"]) | st.text(min_size=1), values))
def test_whatever_the_file_says_it_is_taken_or_refused_with_a_hint(tmp_path_factory: pytest.TempPathFactory, table: dict[str, Any]) -> None:
    text = "\n".join(f"{json.dumps(key)} = {json.dumps(value)}" for key, value in table.items())
    try:
        read(tmp_path_factory.getbasetemp(), text.replace("\ud800", ""))
    except SettingsError as error:
        told = error.hint
    else:
        told = "taken"
    assert told


def test_what_the_settings_file_says_has_a_command_that_hears_it() -> None:
    # `serve` reads the key by itself, so that no help shows it.
    arguments = {option.argument for key, option in _OPTIONS.items() if key not in _FOLDERS}
    heard = {parameter.name for name in _CONFIGURED for parameter in import_module(f"qwq_local.cli.{name}").command.params}
    assert arguments - {"api_key"} <= heard, "a key of the settings file wants an option of the same name in cli/options.py"
