"""TAB in the shell: what is offered, that offering it changes nothing, and the shells themselves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import resources
from pathlib import Path

import click
import pytest

from qwq_local.cli import qwq as program_group
from qwq_local.cli.completing import installing
from qwq_local.cli.completing.shells import LINE, SCRIPTS, script
from qwq_local.history import CHATS_FILE, History
from tests.programs import WAIT_SECONDS, Qwq, assert_told
from tests.terminals import Terminal

Offer = Callable[[str], dict[str, str]]
FOLDERS = ("QWQ_MODELS", "QWQ_DATA")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user with two models, one of them with a name that shells need quotes for."""
    monkeypatch.chdir(tmp_path)
    for name in (*FOLDERS, "HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        (tmp_path / name.lower()).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.delenv("BASH_COMPLETION_USER_DIR", raising=False)
    demo = Path(str(resources.files("qwq_local") / "demo" / "qwq-nano-Q8_0.gguf"))
    for name in ("QwQ-32B-Q4_K_M.gguf", "my odd: model-Q6_K.gguf"):
        shutil.copy(demo, tmp_path / "qwq_models" / name)
    return tmp_path


@pytest.fixture
def offer(qwq: Qwq, home: Path, monkeypatch: pytest.MonkeyPatch) -> Offer:  # noqa: ARG001 - whose models are offered
    def ask(line: str) -> dict[str, str]:
        monkeypatch.setenv("_QWQ_COMPLETE", "bash_complete")
        monkeypatch.setenv(LINE, line)
        ended = qwq()
        monkeypatch.delenv("_QWQ_COMPLETE")
        assert (ended.code, ended.err) == (0, "")
        rows = [row.split("\t") for row in ended.out.splitlines()[1:] if row]
        assert all(len(row) == 3 for row in rows)
        return {f"<{kind}>" if kind != "plain" else value: told for kind, value, told in rows}

    return ask


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("qwq perp", {"perplexity"}),
        ("qwq history ex", {"export"}),
        ("qwq ask --r", {"--race", "--rope"}),
        ("qwq ask --rope ", {"auto", "native", "yarn"}),
        ("qwq ask --rope=ya", {"--rope=yarn"}),
        ("qwq ask -m demo --kv-type q8", {"q8_0"}),
        ("qwq ask 'an open quote' --rope na", {"native"}),
        ("qwq completion f", {"fish"}),
        ("qwq pull q4_k", {"Q4_K_M", "Q4_K_S"}),
        ("qwq pull QwQ", set()),
        ("qwq convert . --quant iq4_n", {"IQ4_NL"}),
        ("qwq convert ", {"<dir>"}),
        ("qwq ask -f no", {"<file>"}),
        ("qwq eval nan", {"nano", "<file>"}),
        ("qwq eval --format bf", {"bfcl"}),
        ("qwq ask -m ", {"demo", "QwQ-32B:Q4_K_M", "my odd: model:Q6_K", "<file>"}),
        ("qwq ask -m qwq-32b:", {"QwQ-32B:Q4_K_M", "<file>"}),
        ("qwq ask -m 'my odd", {"my odd: model:Q6_K", "<file>"}),
        ("qwq rm ", {"QwQ-32B:Q4_K_M", "my odd: model:Q6_K"}),
        ("qwq history show ", set()),
    ],
)
def test_tab_offers_what_fits(offer: Offer, line: str, expected: set[str]) -> None:
    assert set(offer(line)) == expected


def test_every_command_is_offered_with_what_it_does(offer: Offer) -> None:
    offered = offer("qwq ")
    assert offered["ask"] == "Answer one question."
    assert set(offered) == set(program_group.list_commands(click.Context(program_group)))


def test_commands_are_offered_without_importing_one() -> None:
    code = """
import sys
sys.argv[:] = ["qwq"]
from qwq_local.cli import main
try:
    main()
except SystemExit:
    unwanted = [name for name in sys.modules if name in {"llama_cpp", "numpy", "qwq_local.cli.ask", "qwq_local.settings"}]
    sys.exit(f"imported {unwanted}" if unwanted else 0)
"""
    asked = {"_QWQ_COMPLETE": "bash_complete", LINE: "qwq a"}
    environment = os.environ | asked
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=WAIT_SECONDS, env=environment, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "typed\ta\nplain\task\tAnswer one question.\n", "")


def test_a_pull_that_is_unfinished_can_be_removed(offer: Offer, home: Path) -> None:
    parts = home / "qwq_models" / ".partial"
    parts.mkdir()
    (parts / "QwQ-32B-Q8_0.gguf.0123456789ab.part").write_bytes(b"x" * 5000)
    assert offer("qwq rm QwQ-32B:Q8")["QwQ-32B:Q8_0"] == "5.0 kB, unfinished"


def test_chats_are_offered_by_their_titles_also_while_they_are_written(offer: Offer, home: Path) -> None:
    with History.open(home / "qwq_data" / CHATS_FILE) as history:
        ids = [history.start() for _ in range(2)]
        for chat_id, text in zip(ids, ("Prime\tnumbers?", "Of another thing"), strict=True):
            history.say(chat_id, "user", text)
        assert offer("qwq history show ") == {ids[1]: "Of another thing", ids[0]: "Prime numbers?"}
    assert offer(f"qwq history rm {ids[0][:9]}") == {ids[0]: "Prime numbers?"}
    assert offer(f"qwq chat --continue {ids[1]}") == {ids[1]: "Of another thing"}


def test_offering_writes_nothing(offer: Offer, home: Path) -> None:
    with History.open(home / "qwq_data" / CHATS_FILE) as history:
        history.say(history.start(), "user", "Prime numbers?")
    before = dict(_state(home))
    for line in ("qwq ask -m ", "qwq history show ", "qwq rm ", "qwq serve --", "qwq pull ", "qwq "):
        assert offer(line)
    assert dict(_state(home)) == before


@pytest.mark.parametrize("content", ["ctx = [", "bogus = 1", "models = 3"])
def test_a_broken_settings_file_breaks_no_completion(
    offer: Offer, home: Path, monkeypatch: pytest.MonkeyPatch, qwq: Qwq, content: str
) -> None:
    settings = home / "config.toml"
    settings.write_text(content, "utf-8")
    monkeypatch.setenv("QWQ_CONFIG", str(settings))
    assert set(offer("qwq ask -m ")) == {"demo", "<file>"}
    assert offer("qwq rm ") == offer("qwq history show ") == {}
    assert offer("qwq ask --rope y") == {"yarn": ""}
    assert qwq("list").code == 2  # which is where it is told


def test_a_damaged_file_of_chats_offers_none(offer: Offer, home: Path) -> None:
    (home / "qwq_data" / CHATS_FILE).write_bytes(b"no database" * 1000)
    assert offer("qwq history show ") == {}


def test_names_that_cannot_be_printed_are_not_offered(offer: Offer, home: Path) -> None:
    shutil.copy(home / "qwq_models" / "QwQ-32B-Q4_K_M.gguf", home / "qwq_models" / "two\nlines-Q8_0.gguf")
    assert [name for name in offer("qwq ask -m ") if "lines" in name] == []


def _parameters(command: click.Command, name: str) -> Iterator[tuple[str, click.Parameter]]:
    yield from ((f"{name} {parameter.opts[0]}", parameter) for parameter in command.params)
    if isinstance(command, click.Group):
        for inner in command.list_commands(click.Context(command)):
            child = command.get_command(click.Context(command), inner)
            assert child
            yield from _parameters(child, f"{name} {inner}")


def test_whatever_takes_a_file_a_folder_or_a_model_is_completed() -> None:
    context = click.Context(program_group)
    for name, parameter in _parameters(program_group, "qwq"):
        words = {(parameter.metavar or "").casefold(), parameter.name}
        if not getattr(parameter, "is_flag", False) and words & {"file", "textfile", "dir", "model", "models", "draft_model"}:
            assert isinstance(parameter.type, click.Path) or parameter.shell_complete(context, ""), f"{name} offers nothing"


# The scripts, put in place and taken away


@pytest.mark.parametrize(
    ("shell", "place"),
    [
        ("bash", "xdg_data_home/bash-completion/completions/qwq"),
        ("zsh", "xdg_data_home/zsh/site-functions/_qwq"),
        ("fish", "xdg_config_home/fish/completions/qwq.fish"),
    ],
)
def test_a_script_is_put_where_its_shell_looks_and_taken_away(qwq: Qwq, home: Path, shell: str, place: str) -> None:
    ended = qwq("completion", shell, "--install")
    assert (ended.code, ended.out) == (0, f"{home / place}\n")
    assert (home / place).read_text("utf-8") == qwq("completion", shell).out == script(shell)
    assert ("fpath=" in ended.err) is (shell == "zsh")
    assert qwq("completion", shell, "--install").code == 0  # once more is no harm
    assert installing.installed() == [home / place]
    assert qwq("completion", shell, "--remove")[:2] == (0, f"{home / place}\n")
    assert not (home / place).exists()
    assert "nothing was removed" in qwq("completion", shell, "--remove").err


def test_a_script_of_somebody_else_stays(qwq: Qwq, home: Path) -> None:
    theirs = home / "xdg_config_home/fish/completions/qwq.fish"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("complete -c qwq -a mine\n", "utf-8")
    assert_told(qwq("completion", "fish", "--install"), 1, str(theirs))
    assert "nothing was removed" in qwq("completion", "fish", "--remove").err
    assert theirs.read_text("utf-8") == "complete -c qwq -a mine\n"


def test_a_place_that_cannot_be_written_is_named(qwq: Qwq, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").touch()
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "file"))
    assert_told(qwq("completion", "zsh", "--install"), 1, str(home / "file"))


def test_a_relative_folder_in_the_environment_is_ignored(home: Path) -> None:
    environment: Mapping[str, str] = {"XDG_DATA_HOME": "relative"}
    assert installing.place("bash", environment) == home / "home/.local/share/bash-completion/completions/qwq"


def test_without_a_name_it_is_the_shell_of_the_user(qwq: Qwq, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/usr/local/bin/fish")
    assert qwq("completion").out == script("fish")
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    assert_told(qwq("completion"), 2, "tcsh")
    assert_told(qwq("completion", "bash", "--install", "--remove"), 2, "--install", "--remove")


def test_powershell_is_told_what_to_put_into_its_profile(qwq: Qwq) -> None:
    assert "Register-ArgumentCompleter" in qwq("completion", "powershell").out
    refused = qwq("completion", "powershell", "--install")
    assert_told(refused, 2, "powershell")
    assert "Invoke-Expression" in refused.err


# The shells


@pytest.fixture
def shown_arguments(home: Path) -> str:
    """A PATH with a `qwq` that completes as ours does, and else only shows what it is given."""
    folder = home / "bin"
    folder.mkdir()
    (folder / "qwq").write_text(
        f'#!/bin/sh\n[ -n "$_QWQ_COMPLETE" ] || {{ printf "<%s>" "$@"; echo; exit; }}\nexec {sys.executable} -m qwq_local.cli\n', "utf-8"
    )
    (folder / "qwq").chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


TYPED = [
    ("qwq show QwQ-32B:q4\t", "<show><QwQ-32B:Q4_K_M>"),
    ("true; X=1 qwq show my\t", "<show><my odd: model:Q6_K>"),
    ("qwq show 'my o\t", "<show><my odd: model:Q6_K>"),
    ("qwq ask --kv-type=q8\t", "<ask><--kv-type=q8_0>"),
    ("qwq ask -f 'a no\t", "<ask><-f><a note.txt>"),
    ('qwq show "ev\t', "<show><ev$(touch ran)`touch ran`'s:Q6_K>"),
    ("qwq show 'ev\t", "<show><ev$(touch ran)`touch ran`'s:Q6_K>"),
    ("qwq show my\\ odd:\\ mo\t", "<show><my odd: model:Q6_K>"),
]


def _starts(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shell", "flags", "load"),
    [
        pytest.param("bash", ("--norc", "--noprofile", "-i"), 'eval "$(cat script)"', marks=_starts("bash")),
        pytest.param("zsh", ("-f", "-i"), "fpath=($PWD/functions $fpath); autoload -Uz compinit; compinit -D -u", marks=_starts("zsh")),
    ],
)
def test_a_shell_completes_on_tab(
    home: Path, shown_arguments: str, on_terminal: Callable[..., Terminal], shell: str, flags: tuple[str, ...], load: str
) -> None:
    (home / "script").write_text(script(shell), "utf-8")
    (home / "functions").mkdir()
    (home / "functions" / "_qwq").write_text(script("zsh"), "utf-8")
    (home / "a note.txt").touch()
    shutil.copy(home / "qwq_models" / "my odd: model-Q6_K.gguf", home / "qwq_models" / "ev$(touch ran)`touch ran`'s-Q6_K.gguf")
    terminal = on_terminal(shell, *flags, PATH=shown_arguments)
    terminal.type(f"{load}; PS1='g''o> '\n")
    for typed, shown in TYPED:
        terminal.await_text("go> ")
        terminal.type(typed)
        terminal.type("\n")
        terminal.await_text(shown)
    terminal.await_text("go> ")
    terminal.type("exit\n")
    assert not (home / "ran").exists()


@pytest.mark.slow
@_starts("fish")
def test_fish_completes(home: Path, shown_arguments: str) -> None:
    (home / "qwq.fish").write_text(script("fish"), "utf-8")
    (home / "a note.txt").touch()
    lines = ["qwq perp", "qwq show qwq-32b:q", "qwq ask --kv-type=q8", "qwq ask -f a"]
    asked = "; ".join(f"complete -C {line!r}" for line in lines)
    done = subprocess.run(
        [shutil.which("fish") or "", "--no-config", "-c", f"source qwq.fish; {asked}"],
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        env=os.environ | {"PATH": shown_arguments},
        check=False,
    )
    assert done.stderr == ""
    assert [row.split("\t")[0] for row in done.stdout.splitlines()] == [
        "perplexity",
        "QwQ-32B:Q4_K_M",
        "--kv-type=q8_0",
        "a note.txt",
    ]
    assert "perplexity\tMeasure how likely a model finds a text." in done.stdout


@pytest.mark.parametrize("shell", [pytest.param(shell, marks=_starts(shell)) for shell in SCRIPTS])
def test_a_script_is_sound_by_its_shell(tmp_path: Path, shell: str) -> None:
    path = tmp_path / "script"
    path.write_text(script(shell), "utf-8")
    done = subprocess.run([shell, "-n", path], capture_output=True, text=True, timeout=WAIT_SECONDS, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def _state(folder: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    for path in sorted(folder.rglob("*")):
        state = path.lstat()
        yield str(path), (state.st_size, state.st_mtime_ns)
