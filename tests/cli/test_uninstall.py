"""`qwq uninstall`: what the program made goes, chats and models stay unless they are named, and nothing of anybody else is touched."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from qwq_local.cli.leaving import others, program
from qwq_local.cli.leaving.clearing import Left
from qwq_local.cli.leaving.program import Departure, depart, plan_departure
from qwq_local.engine.prefix import SavedPrefix
from qwq_local.engine.shelf import PrefixShelf
from qwq_local.history import CHATS_FILE, History
from qwq_local.installation import KIT_MARK, Installation, Kind
from qwq_local.machine import measured, tuned
from qwq_local.models.record import Record, write_record
from qwq_local.service.manager import Ran
from qwq_local.service.order import Order
from qwq_local.service.systemd import Systemd
from qwq_local.service.systemd_unit import UNIT, render
from qwq_local.tuning import Tuning
from tests.programs import Qwq, assert_told

DEMO = Path(str(resources.files("qwq_local") / "demo" / "qwq-nano-Q8_0.gguf"))
DATA, CACHE, CONFIG = ".local/share/qwq", ".cache/qwq", ".config/qwq"
SHARED = (".local/share", ".cache", ".config", ".local/bin")
CHATS = {f"{DATA}/chats.db", f"{DATA}/chats.damaged-2026-01-02-030405-000006.db", f"{DATA}/chats.damaged-2026-01-02-030405-000006.db-wal"}
EVALUATIONS = {f"{DATA}/evaluations/demo-2026.jsonl"}
MODELS = {
    f"{DATA}/models/QwQ-32B-Q4_K_M.gguf",
    f"{DATA}/models/QwQ-32B-Q4_K_M.gguf.json",
    f"{DATA}/models/QwQ-32B-Q4_K_M.gguf.json.new",
    f"{DATA}/models/mine/own-Q8_0.gguf",
}
PARTS = {f"{DATA}/models/.partial/QwQ-32B-Q8_0.gguf.0123456789ab{suffix}" for suffix in (".part", ".part.json", ".part.json.new", ".lock")}
SETTINGS = {f"{CONFIG}/config.toml"}
ASKED = {"chats": CHATS, "evaluations": EVALUATIONS, "models": MODELS | PARTS, "settings": SETTINGS}
ALL_ASKED = CHATS | EVALUATIONS | MODELS | PARTS | SETTINGS
GOES = ("uninstall", "--keep-program", "--yes")
"""Whoever runs the tests keeps the program."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, qwq: Qwq) -> Path:
    """A home folder where everything was used that writes something."""
    for name in ("QWQ_DATA", "QWQ_MODELS", "QWQ_CONFIG", "HF_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    for folder in SHARED:
        (home / folder).mkdir(parents=True)
    _measure(home / CACHE)
    _chat(home)
    _pull(home / DATA / "models")
    _build_and_open_windows(home)
    (home / CONFIG).mkdir()
    (home / CONFIG / "config.toml").write_text("ctx = 4096\n", "utf-8")
    for shell in ("bash", "zsh", "fish"):
        assert qwq("completion", shell, "--install").code == 0
    assert qwq("list").code == 0
    return home


def _measure(cache: Path) -> None:
    measured.write(cache, measured.Measurements("a CPU", {"f16": (1.0,)}))
    kept = tuned.Kept(tuned.TunedFor("a.gguf", 1, "cpu", "here"), Tuning(), {"decode": 1.2}, "2026-01-02")
    tuned.keep(cache, kept)
    (cache / "tuning.json.4711.new").touch()  # whoever wrote it was killed
    for name in ("amx.json", "kit-wheels/cpu-portable/llama_cpp_python.whl"):
        (cache / name).parent.mkdir(parents=True, exist_ok=True)
        (cache / name).touch()
    PrefixShelf(cache / "chats" / "0123456789abcdef", 10**6).write([SavedPrefix("native", (1, 2, 3), b"state" * 20)])


def _chat(home: Path) -> None:
    with History.open(home / DATA / CHATS_FILE) as history:
        history.say(history.start(), "user", "Prime numbers?")
    for path in (CHATS | EVALUATIONS) - {f"{DATA}/{CHATS_FILE}"}:
        (home / path).parent.mkdir(exist_ok=True)
        (home / path).write_text("{}\n", "utf-8")


def _pull(models: Path) -> None:
    (models / "mine").mkdir(parents=True)
    (models / ".partial").mkdir()
    shutil.copy(DEMO, models / "QwQ-32B-Q4_K_M.gguf")
    write_record(models / "QwQ-32B-Q4_K_M.gguf", Record("Qwen/QwQ-32B-GGUF", "main", "qwq.gguf", 1, "0" * 64))
    (models / "QwQ-32B-Q4_K_M.gguf.json.new").touch()  # whoever wrote it was killed
    shutil.copy(DEMO, models / "mine" / "own-Q8_0.gguf")
    for path in PARTS:
        (models / ".partial" / Path(path).name).write_bytes(b"part")


def _build_and_open_windows(home: Path) -> None:
    build, desktop, snap = home / DATA / "builds/0123456789ab", home / DATA / "desktop", home / "snap/chromium/common"
    (build / "kept-1").mkdir(parents=True)
    for name in ("done.json", "lock", "kept-1/llama_cpp_python.whl"):
        (build / name).touch()
    for profile in (desktop / "browser", snap / "qwq-local"):
        (profile / "Default").mkdir(parents=True)
        (profile / "Default" / "Cookies").write_bytes(b"x" * 2000)
    for name in ("running.json", "joined", "lock", "desktop.log", "desktop.log.old", "trouble.html"):
        (desktop / name).touch()


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}


def _folders(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_dir() and not path.is_symlink()}


EMPTY = {*SHARED, ".local", "snap", "snap/chromium", "snap/chromium/common"}
"""The folders of a home where the program never was, and those of other programs."""


def test_only_chats_evaluations_models_and_settings_stay(qwq: Qwq, home: Path) -> None:
    assert qwq(*GOES).code == 0
    assert _files(home) == ALL_ASKED
    assert qwq(*GOES).code == 0  # once more finds nothing to do


@pytest.mark.parametrize("kind", ASKED)
def test_each_of_these_goes_when_it_is_named(qwq: Qwq, home: Path, kind: str) -> None:
    assert qwq(*GOES, f"--{kind}").code == 0
    assert _files(home) == ALL_ASKED - ASKED[kind]


def test_all_leaves_a_home_as_it_was_before(qwq: Qwq, home: Path) -> None:
    assert qwq(*GOES, "--all").code == 0
    assert (_files(home), _folders(home)) == (set(), EMPTY)


def test_a_folder_that_was_named_is_left_likewise(qwq: Qwq, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(home)
    home.mkdir()
    monkeypatch.setenv("QWQ_DATA", str(home / "everything"))
    _measure(home / "everything" / "cache")
    assert qwq(*GOES, "--all").code == 0
    assert _folders(home) == set()


def test_a_dry_run_tells_what_goes_and_what_stays_and_changes_nothing(qwq: Qwq, home: Path) -> None:
    before = {path: (home / path).lstat().st_mtime_ns for path in _files(home)}
    ended = qwq("uninstall", "--dry-run", "--chats")
    assert (ended.code, ended.err) == (0, "")
    goes, stays = ended.out.split("This stays:")
    assert f"{home / CACHE}" in goes
    assert f"{home / DATA / 'chats.db'}" in goes
    assert "evaluations, --evaluations" in stays
    assert "models, --models" in stays
    assert "5.6 MB" in stays
    assert "Ollama" in stays
    assert {path: (home / path).lstat().st_mtime_ns for path in _files(home)} == before


@pytest.mark.usefixtures("home")
def test_json_tells_the_same(qwq: Qwq) -> None:
    tried: dict[str, Any] = json.loads(qwq("uninstall", "--dry-run", "--json").out)
    done: dict[str, Any] = json.loads(qwq(*GOES, "--json").out)
    assert (tried["dry_run"], done["dry_run"]) == (True, False)
    for key in ("removed", "kept", "left", "running", "service"):
        assert done[key] == tried[key]
    assert {trace["what"] for trace in done["kept"]} == set(ASKED)
    assert done["left"] == done["running"] == []
    [profile] = [trace for trace in done["removed"] if "desktop" in trace["what"]]
    assert profile["bytes"] > 4000
    assert done["program"] == {"kind": tried["program"]["kind"], "command": None, "folder": None, "is_run": False, "then": None}


def test_nothing_goes_where_nobody_says_yes(qwq: Qwq, home: Path) -> None:
    before = _files(home)
    ended = qwq("uninstall", "--keep-program")
    assert (ended.code, ended.err.splitlines()[-1]) == (2, "hint: Say yes beforehand: --yes")
    assert _files(home) == before


# What is not ours


def test_files_that_it_does_not_know_stay_with_their_folders(qwq: Qwq, home: Path) -> None:
    notes = {
        f"{folder}/notes.txt"
        for folder in (
            *(CACHE, f"{CACHE}/chats", f"{CACHE}/chats/0123456789abcdef", CONFIG),
            *(DATA, f"{DATA}/desktop", f"{DATA}/builds", f"{DATA}/builds/0123456789ab", f"{DATA}/evaluations"),
            *(f"{DATA}/models", f"{DATA}/models/.partial", ".local/share/zsh/site-functions"),
        )
    }
    other = f"{DATA}/builds/not-a-hash/kept-1"
    (home / other).mkdir(parents=True)
    for path in (*notes, f"{other}/a.whl"):
        (home / path).touch()
    assert qwq(*GOES, "--all").code == 0
    assert _files(home) == notes | {f"{other}/a.whl"}


def test_models_of_other_programs_stay(qwq: Qwq, home: Path) -> None:
    theirs = {
        ".cache/huggingface/hub/models--Qwen--QwQ-32B-GGUF/snapshots/abc/qwq-32b-q8_0.gguf",
        ".lmstudio/models/lmstudio-community/QwQ-32B-GGUF/QwQ-32B-Q6_K.gguf",
        ".ollama/models/blobs/sha256-" + "0" * 64,
    }
    for path in theirs:
        (home / path).parent.mkdir(parents=True)
        shutil.copy(DEMO, home / path)
    assert qwq(*GOES, "--all").code == 0
    assert _files(home) == theirs


def test_of_a_folder_of_models_that_was_named_only_what_was_pulled_goes(qwq: Qwq, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QWQ_MODELS", str(home / "models"))
    _pull(home / "models")
    shutil.copy(DEMO, home / "models" / "other-Q8_0.gguf")
    assert "2 files" not in (told := qwq("uninstall", "--dry-run", "--models").out)
    assert str(home / "models/other-Q8_0.gguf") in told.split("This stays:")[1]
    assert qwq(*GOES, "--models").code == 0
    assert _files(home / "models") == {"other-Q8_0.gguf", "mine/own-Q8_0.gguf"}
    assert _files(home / DATA / "models") == {path.removeprefix(f"{DATA}/models/") for path in MODELS | PARTS}


@pytest.mark.parametrize("is_named", [False, True])
def test_what_somebody_put_beside_a_model_stays(qwq: Qwq, home: Path, monkeypatch: pytest.MonkeyPatch, *, is_named: bool) -> None:
    models = home / DATA / "models"
    if is_named:
        monkeypatch.setenv("QWQ_MODELS", str(models.rename(home / "models")))
        models = home / "models"
    beside = [models / f"QwQ-32B-Q4_K_M.gguf{end}" for end in (".json.bak", ".json-notes.txt", ".txt", ".json.new.old")]
    for path in beside:
        path.write_text("mine\n", "utf-8")
    (models / "of-mine.gguf.json.new").mkdir()
    assert qwq(*GOES, "--models").code == 0
    assert [path.read_text("utf-8") for path in beside] == ["mine\n"] * 4
    assert not any((models / f"QwQ-32B-Q4_K_M.gguf{end}").exists() for end in ("", ".json", ".json.new"))
    assert (models / "of-mine.gguf.json.new").is_dir()


def test_of_a_linked_folder_of_models_only_what_was_pulled_goes(qwq: Qwq, home: Path) -> None:
    theirs = home / "lmstudio"
    (home / DATA / "models").rename(theirs)
    (home / DATA / "models").symlink_to(theirs, target_is_directory=True)
    assert qwq(*GOES, "--models").code == 0
    assert (theirs / "mine" / "own-Q8_0.gguf").exists()
    assert not (theirs / "QwQ-32B-Q4_K_M.gguf").exists()


def test_links_are_removed_and_not_followed(qwq: Qwq, home: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "inner").mkdir(parents=True)
    for path in (elsewhere / "a.gguf", elsewhere / "inner" / "b.prefix"):
        path.touch()
    (home / DATA / "models" / "linked-Q8_0.gguf").symlink_to(elsewhere / "a.gguf")
    (home / DATA / "desktop/browser/link").symlink_to(elsewhere)
    (home / CACHE / "chats" / "fedcba9876543210").symlink_to(elsewhere / "inner")
    assert qwq(*GOES, "--all").code == 0
    assert _files(elsewhere) >= {"a.gguf"}
    assert not (home / DATA).exists()


# What goes wrong


def test_what_cannot_go_is_named_the_rest_goes_and_the_program_stays(qwq: Qwq, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = home / CACHE / "hardware.json"
    really = Path.unlink

    def unlink(path: Path, *, missing_ok: bool = False) -> None:
        if path == stuck:
            raise PermissionError(1, "Operation not permitted", str(path))
        really(path, missing_ok=missing_ok)

    departed: list[Departure] = []

    def note(departure: Departure) -> list[Left]:
        departed.append(departure)
        return []

    monkeypatch.setattr("qwq_local.cli.leaving.leave.depart", note)
    monkeypatch.setattr(Path, "unlink", unlink)
    ended = qwq("uninstall", "--yes")
    assert ended.code == 1
    assert f"left: {stuck}: Operation not permitted\n" in ended.err
    assert _files(home) == ALL_ASKED | {f"{CACHE}/hardware.json"}
    assert departed == []
    monkeypatch.setattr(Path, "unlink", really)
    assert qwq("uninstall", "--yes").code == 0
    assert _files(home) == ALL_ASKED
    assert len(departed) == 1


def test_a_settings_file_that_cannot_be_read_is_told_before_anything_goes(qwq: Qwq, home: Path) -> None:
    (home / CONFIG / "config.toml").write_text("data = [", "utf-8")
    before = _files(home)
    assert_told(qwq(*GOES), 2, str(home / CONFIG / "config.toml"))
    assert _files(home) == before


def _waiting(name: str, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
    """A program of that name that ends with its input."""
    command = [name, "-c", "print(flush=True); input()", *arguments]
    return subprocess.Popen(command, executable=sys.executable, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | environment)


@pytest.mark.skipif(os.name != "posix", reason="a program's name is set as POSIX lets it")
def test_while_one_of_ours_runs_nothing_goes(qwq: Qwq, home: Path) -> None:
    before = _files(home)
    with (
        _waiting("qwq", "serve") as ours,
        _waiting("qwq", "serve", HOME=str(home / "another")) as elsewhere,
        _waiting("vim", "qwq") as other,
    ):
        for child in (ours, elsewhere, other):
            assert child.stdout
            child.stdout.readline()
        assert f"Running: process {ours.pid}, qwq" in qwq("uninstall", "--dry-run").out
        ended = qwq(*GOES)
        for child in (ours, elsewhere, other):
            child.communicate(b"\n")
    assert ended.code == 1
    assert f"hint: End it first, and try again: kill {ours.pid}\n" in ended.err
    assert _files(home) == before
    assert qwq(*GOES).code == 0


@pytest.mark.parametrize(
    ("line", "is_ours"),
    [
        ("qwq serve", True),
        ("/home/me/.local/bin/qwq chat", True),
        ("/usr/bin/python3.12 /home/me/venv/bin/qwq serve", True),
        ("python -m qwq_local.cli serve", True),
        ("qwq.exe serve", True),
        ("/opt/qwq-local/qwq-desktop", True),
        ("vim qwq", False),
        ("python train.py qwq", False),
        ("tail -f qwq.log", False),
        ("qwq-other", False),
    ],
)
def test_our_programs_are_told_by_their_names(line: str, *, is_ours: bool) -> None:
    assert others.is_ours(line.split()) is is_ours


# The service


@pytest.fixture
def systemd(home: Path, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    """A service that is installed where no systemd runs."""
    manager = Systemd(home / ".config/systemd/user", home, "me", lambda _: Ran(1), home / "none", home / "none", home / "none")
    manager.own.mkdir(parents=True)
    (manager.own / UNIT).write_text(render(Order(("/usr/bin/qwq",), writable=(str(home),))), "utf-8")
    monkeypatch.setattr(others, "find_manager", lambda: manager)
    return manager


def test_the_service_goes_too(qwq: Qwq, home: Path, systemd: Systemd) -> None:
    assert f"the service                         {systemd.file}\n" in qwq("uninstall", "--dry-run").out
    assert qwq(*GOES).code == 0
    assert _files(home) == ALL_ASKED
    assert not systemd.own.exists()


def test_a_unit_of_that_name_that_somebody_else_wrote_stays_and_is_told_of(qwq: Qwq, systemd: Systemd) -> None:
    systemd.file.write_text("[Service]\nExecStart=/usr/bin/other\n", "utf-8")
    ended = qwq(*GOES)
    assert ended.code == 0
    assert str(systemd.file) in ended.out.split("This stays:")[1]
    assert systemd.file.exists()


def test_a_service_that_cannot_be_stopped_is_named_and_the_rest_goes(
    qwq: Qwq, home: Path, systemd: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = Systemd(systemd.own, home, "me", lambda _: Ran(0, "ActiveState=active\n"), home / "none", home / "none", home / "none")
    monkeypatch.setattr(others, "find_manager", lambda: running)
    ended = qwq(*GOES)
    assert ended.code == 1
    assert f"left: {running.file}: {UNIT} cannot be stopped." in ended.err
    assert _files(home) == ALL_ASKED | {f".config/systemd/user/{UNIT}"}


# The program itself


def _way(kind: Kind, *, there: bool = True, system: str = "linux") -> Departure:
    here = Installation(kind, ("qwq",), Path("/opt/here"))
    return plan_departure(here, lambda name: f"/usr/bin/{name}" if there else None, system)


def test_the_program_goes_by_what_brought_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "distribution", lambda _: None)
    monkeypatch.setattr(program, "find_spec", lambda _: object())
    assert _way("pip").told == f"{sys.executable} -m pip uninstall --yes qwq-local"
    assert _way("pipx").told == "pipx uninstall qwq-local"
    assert _way("uv").told == "uv tool uninstall qwq-local"
    assert _way("kit") == Departure(folder=Path("/opt/here"))
    assert all(_way(kind).does_it for kind in ("pip", "pipx", "uv", "source"))
    assert _way("deb") == Departure(("sudo", "apt-get", "purge", "qwq-local"))
    assert _way("app") == Departure(then="The app is a folder: delete /opt/here")
    assert "The source stays" in _way("source").then


def test_what_is_not_there_to_do_it_is_told_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "distribution", lambda _: None)
    monkeypatch.setattr(program, "find_spec", lambda _: None)
    assert not _way("pipx", there=False).does_it
    assert _way("pip").told == f"uv pip uninstall --python {sys.executable} qwq-local"
    assert _way("pip").does_it
    assert not _way("pip", there=False).does_it
    assert not _way("pipx", system="win32").does_it  # a program that runs cannot be deleted there
    assert _way("kit", system="win32") == Departure(then="Delete /opt/here once this has ended.")


def test_a_command_that_fails_is_told_with_what_it_said() -> None:
    [left] = depart(Departure((sys.executable, "-c", "import sys; sys.exit('externally managed')"), does_it=True))
    assert left.reason.endswith("failed: externally managed")
    assert depart(Departure(("not-there",), does_it=False)) == []


def test_a_kits_program_goes_with_its_link_and_nothing_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    root, link = tmp_path / "qwq-local", tmp_path / ".local/bin/qwq"
    for path in (root / "app/bin/qwq", root / "app/lib/qwq_local/errors.py", root / "app.old/bin/qwq", root / ".lock", link):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (root / "app" / KIT_MARK).write_text("{}", "utf-8")
    link.unlink()
    for each in (link, link.with_name(".qwq.new")):
        each.symlink_to(root / "app/bin/qwq")
    (root / "notes.txt").touch()
    assert depart(Departure(folder=root / "app")) == []
    assert _files(tmp_path) == {"qwq-local/notes.txt"}


def test_a_folder_without_a_kits_mark_and_a_link_to_elsewhere_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    link = tmp_path / ".local/bin/qwq"
    for path in (tmp_path / "app/bin/qwq", tmp_path / "other/qwq", link):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    link.unlink()
    link.symlink_to(tmp_path / "other/qwq")
    assert depart(Departure(folder=tmp_path / "app")) == []
    assert _files(tmp_path) == {"app/bin/qwq", "other/qwq", ".local/bin/qwq"}
