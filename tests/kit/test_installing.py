"""A kit put in place: what is told, what is left alone, and what an interruption or a failure leaves behind."""

from __future__ import annotations

import errno
import io
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from importlib import resources
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import NamedTuple

import pytest
from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined] # its documented place

from qwq_local.installation import KIT_MARK
from qwq_local.kit import own_wheel, starters_text
from qwq_local.kit.installer import command, environment, machine, models, place, run
from qwq_local.kit.installer.manifest import KitFile, read_manifest
from qwq_local.kit.installer.place import MARK, UNPROVEN, Place
from qwq_local.kit.installer.trouble import InstallError
from qwq_local.models.download import part_path
from qwq_local.models.inventory import local_models, unfinished_pulls
from qwq_local.models.record import Record, read_record, write_record
from tests.hub_server import sha256
from tests.kit.shelf import flip, write_kit, write_wheel
from tests.programs import Ended
from tests.shelves import write_model
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(os.name != "posix", reason="what is put in place here starts as a shell script")

PROGRAM = """#!/bin/sh
case "$*" in
    *find_folders*) echo "$QWQ_MODELS" ;;
    *ask*) [ -f "$(dirname "$0")/broken" ] && { cat "$(dirname "$0")/broken" >&2; exit 1; }; echo '{"content": "132"}' ;;
    *--version) echo "qwq, version NUMBER"; [ ! -f "$(dirname "$0")/unstartable" ] ;;
esac
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home/.local/share"))
    monkeypatch.setenv("QWQ_MODELS", str(tmp_path / "home/models"))
    return tmp_path / "home"


@pytest.fixture
def app(home: Path) -> Path:
    return home / ".local/share/qwq-local/app"


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    """A kit with a model."""
    return kit_of(tmp_path / "kit")


def kit_of(folder: Path, version: str = "0.1.0") -> Path:
    model = write_model(folder / "models/QwQ-32B-Q8_0.gguf")
    content = model.read_bytes()
    write_record(model, Record("Qwen/QwQ-32B-GGUF", "0123456789", "qwq-32b-q8_0.gguf", len(content), sha256(content)))
    names = [f"models/{model.name}", f"models/{model.name}.json"]
    files = {"wheels/a-1-py3-none-any.whl": version.encode(), **{name: (folder / name).read_bytes() for name in names}}
    write_kit(folder, files, [model.name], version=version)
    return folder


@pytest.fixture
def unpacking(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """In place of pip: a program of a few lines of shell. What it is called with breaks the next one."""
    broken: dict[str, str] = {}

    def unpack(folder: Path, _kit: Path, manifest: object) -> None:
        (folder / "bin").mkdir(parents=True)
        for name in ("python", "qwq"):
            (folder / "bin" / name).write_text(PROGRAM.replace("NUMBER", manifest.version))  # type: ignore[attr-defined]
            (folder / "bin" / name).chmod(0o755)
        (folder / "pyvenv.cfg").write_text(f"command = python -m venv {folder}\n")
        for name, says in broken.items():
            (folder / "bin" / name).write_text(says)

    monkeypatch.setattr(run, "make_environment", unpack)
    return broken.update


@pytest.fixture
def install(capsys: pytest.CaptureFixture[str], unpacking: object) -> Callable[..., Ended]:  # noqa: ARG001 - in place of pip
    def installed(kit: Path, *arguments: str) -> Ended:
        capsys.readouterr()
        return Ended(run.main(str(kit), arguments), *capsys.readouterr())

    return installed


Install = Callable[..., Ended]


def version_of(home: Path) -> str:
    done = subprocess.run([str(home / ".local/bin/qwq"), "--version"], capture_output=True, text=True, check=True)
    return done.stdout.split()[-1]


# What is done


def test_program_model_and_command_are_put_where_they_belong(kit: Path, home: Path, app: Path, install: Install) -> None:
    ended = install(kit)
    assert (ended.code, ended.err) == (0, "")
    assert version_of(home) == "0.1.0"
    assert (home / ".local/bin/qwq").resolve() == app / "bin/qwq"
    [model] = local_models()
    assert (model.name, model.path) == ("QwQ-32B:Q8_0", home / "models/QwQ-32B-Q8_0.gguf")
    assert read_record(model.path) == read_record(kit / "models/QwQ-32B-Q8_0.gguf")
    assert "It says: 132" in ended.out
    assert f"to remove it: rm -r {app} {app.parent}/.lock {home}/.local/bin/qwq\n" in ended.out
    assert f"{home}/.local/bin is not on your PATH" in ended.out
    assert json.loads((app / KIT_MARK).read_text())["kit"] == str(kit)
    assert MARK == KIT_MARK
    assert str(app) in (app / "pyvenv.cfg").read_text()
    assert "app.new" not in (app / "pyvenv.cfg").read_text()


def test_without_the_model_only_the_program_is_put_in_place(kit: Path, home: Path, install: Install) -> None:
    flip(kit / "models/QwQ-32B-Q8_0.gguf")
    assert install(kit, "--no-model").code == 0
    assert not (home / "models").exists()


def test_another_folder_may_be_named(kit: Path, home: Path, install: Install) -> None:
    ended = install(kit, "--to", "~/somewhere else", "--no-model")
    assert ended.code == 0
    assert (home / ".local/bin/qwq").resolve() == home / "somewhere else/app/bin/qwq"


def test_the_command_that_removes_it_removes_what_was_made_and_nothing_else(kit: Path, home: Path, install: Install) -> None:
    tools = home / "my tools; and 'more'"
    (home / "my").mkdir(parents=True)
    tools.mkdir()
    (tools / "mine").write_text("precious")
    ended = install(kit, "--to", str(tools), "--no-model")
    [remove] = [line.partition("to remove it: ")[2] for line in ended.out.splitlines() if "to remove it: " in line]
    subprocess.run(["/bin/sh", "-c", remove], cwd=home, check=True)
    assert [path.name for path in tools.iterdir()] == ["mine"]
    assert (home / "my").is_dir()
    assert not (home / ".local/bin/qwq").is_symlink()


def test_on_windows_the_command_that_removes_it_is_one_for_its_shell(tmp_path: Path) -> None:
    told = command.removal(Place(tmp_path / "my tools"), tmp_path / "my tools/qwq.cmd", "win32")
    assert told == f'rd /s /q "{tmp_path}/my tools/app" & del /q "{tmp_path}/my tools/.lock" "{tmp_path}/my tools/qwq.cmd"'


def test_the_same_kit_is_not_unpacked_twice_but_what_is_gone_comes_back(kit: Path, home: Path, app: Path, install: Install) -> None:
    install(kit)
    marked = (app / MARK).stat().st_ino
    (home / ".local/bin/qwq").unlink()
    (home / "models/QwQ-32B-Q8_0.gguf").unlink()
    ended = install(kit)
    assert "is installed already" in ended.out
    assert (app / MARK).stat().st_ino == marked
    assert version_of(home) == "0.1.0"
    assert local_models()


def test_an_installation_that_does_not_answer_any_more_is_made_anew(kit: Path, home: Path, app: Path, install: Install) -> None:
    install(kit)
    (app / "bin/broken").write_text("ImportError")
    assert install(kit).code == 0
    assert not (app / "bin/broken").exists()
    assert version_of(home) == "0.1.0"


@pytest.mark.parametrize("name", ["python", "qwq"])
def test_an_installation_whose_python_is_gone_or_whose_folder_was_moved_is_made_anew(
    kit: Path, home: Path, app: Path, install: Install, name: str
) -> None:
    install(kit)
    (app / "bin" / name).unlink()
    if name == "python":
        (app / "bin/python").symlink_to("/nowhere/python3")
    else:
        (app / "bin/qwq").write_text("#!/nowhere/app/bin/python\n")
        (app / "bin/qwq").chmod(0o755)
    ended = install(kit)
    assert (ended.code, ended.err, "is installed already" in ended.out) == (0, "", False)
    assert version_of(home) == "0.1.0"


def test_a_newer_kit_takes_the_place_of_the_older(tmp_path: Path, kit: Path, home: Path, app: Path, install: Install) -> None:
    install(kit)
    assert install(kit_of(tmp_path / "newer", "0.2.0")).code == 0
    assert version_of(home) == "0.2.0"
    assert sorted(path.name for path in app.parent.iterdir()) == [".lock", "app"]


# What fails


@pytest.mark.parametrize("how", ["broken", "unstartable"])
def test_where_the_new_program_does_not_answer_the_old_one_stays(
    tmp_path: Path, kit: Path, home: Path, install: Install, unpacking: Callable[..., None], how: str
) -> None:
    install(kit)
    unpacking(**{how: "the engine was ended by SIGILL"})
    ended = install(kit_of(tmp_path / "newer", "0.2.0"))
    assert ended.code == 1
    assert version_of(home) == "0.1.0"
    assert not (home / ".local/share/qwq-local/app.old").exists()
    if how == "broken":
        assert ended.err.startswith("error: The program was put in place and does not work: the engine was ended by SIGILL")
        assert "hint: llama.cpp was compiled for another processor: make the kit without --native." in ended.err


def test_a_first_installation_that_does_not_answer_leaves_no_command(
    kit: Path, home: Path, install: Install, unpacking: Callable[..., None]
) -> None:
    unpacking(broken="libgomp.so.1: cannot open shared object file: No such file or directory")
    ended = install(kit)
    assert (ended.code, "hint: Install the library that is named" in ended.err) == (1, True)
    assert not (home / ".local/bin/qwq").is_symlink()


def test_libraries_that_a_disk_forbids_to_run_lead_to_another_folder(kit: Path, install: Install, unpacking: Callable[..., None]) -> None:
    unpacking(broken="ImportError: libllama.so: failed to map segment from shared object")
    ended = install(kit)
    assert (ended.code, "hint: Is its disk mounted with noexec?" in ended.err) == (1, True)


@pytest.mark.parametrize("name", ["wheels/a-1-py3-none-any.whl", "models/QwQ-32B-Q8_0.gguf", "models/QwQ-32B-Q8_0.gguf.json"])
def test_a_damaged_file_is_named_and_nothing_is_installed(kit: Path, home: Path, install: Install, name: str) -> None:
    flip(kit / name)
    ended = install(kit)
    assert (ended.code, name in ended.err, "The kit is damaged" in ended.err) == (1, True, True)
    assert not (home / ".local/bin").exists()
    assert local_models() == []


def test_a_missing_and_a_short_file_are_told_before_anything_is_unpacked(kit: Path, home: Path, install: Install) -> None:
    (kit / "wheels/a-1-py3-none-any.whl").unlink()
    (kit / "models/QwQ-32B-Q8_0.gguf").write_bytes(b"GGUF")
    ended = install(kit)
    assert ended.code == 1
    assert "wheels/a-1-py3-none-any.whl is missing" in ended.err
    assert "models/QwQ-32B-Q8_0.gguf has 4 bytes instead of" in ended.err
    assert not (home / ".local").exists()


def test_a_folder_that_cannot_be_written_is_named(kit: Path, home: Path, install: Install) -> None:
    home.mkdir()
    (home / "file").write_text("")
    ended = install(kit, "--to", str(home / "file/inside"))
    assert ended.code == 1
    assert f"error: {home / 'file/inside'} cannot be written: Not a directory.\nhint: Make it writable, or name another folder" in ended.err


@pytest.mark.parametrize("to", ["a:b", "lat\udce9", "~nobody-has-this-name/x"])
def test_a_folder_that_no_program_can_be_in_is_named(kit: Path, home: Path, install: Install, to: str) -> None:
    ended = install(kit, "--to", to if to.startswith("~") else f"{home}/{to}")
    assert (ended.code, ended.err.startswith("error: ")) == (1, True)
    assert to.replace("\udce9", "\\udce9") in ended.err
    assert "hint: Name " in ended.err
    assert not home.exists()


def test_a_user_without_a_home_folder_names_one_for_the_program(
    kit: Path, home: Path, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setattr(Path, "home", none)
    ended = install(kit)
    assert (ended.code, ended.err) == (1, "error: This user has no home folder, and HOME is not set.\n" + f"hint: {place.OTHER_FOLDER}\n")
    ended = install(kit, "--to", str(home / "x"))
    assert (ended.code, f"start it as {home}/x/app/bin/qwq\n" in ended.out) == (0, True)


def test_a_command_that_cannot_be_made_does_not_undo_what_is_installed(kit: Path, home: Path, app: Path, install: Install) -> None:
    (home / ".local").mkdir(parents=True)
    (home / ".local/bin").write_text("a file")
    ended = install(kit)
    assert (ended.code, ended.err) == (0, "")
    assert f"note: {home}/.local/bin/qwq cannot be made (File exists): start it as {app}/bin/qwq\n" in ended.out
    assert f"  program   {app}/bin/qwq, in {app}\n" in ended.out


def test_a_python_that_is_not_named_first_is_refused(kit: Path, home: Path, install: Install) -> None:
    ended = install(kit, "--no-model", "--python", "/opt/python3.12")
    assert (ended.code, "--python /opt/python3.12 has no effect here: it must be the first option" in ended.err) == (1, True)
    assert not home.exists()


def test_a_folder_is_told_also_where_the_terminal_cannot_show_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, "latin-1"))
    run._say("lat\udce9 …")
    assert shown.getvalue() == b"lat\\udce9 \\u2026\n"


def test_what_no_kit_made_is_left_alone(kit: Path, app: Path, install: Install) -> None:
    app.mkdir(parents=True)
    (app / "letter.txt").write_text("mine")
    ended = install(kit)
    assert (ended.code, f"{app} was not made by a kit." in ended.err) == (1, True)
    assert (app / "letter.txt").read_text() == "mine"


def test_a_command_of_another_program_is_left_alone(kit: Path, home: Path, app: Path, install: Install) -> None:
    other = home / ".local/bin/qwq"
    other.parent.mkdir(parents=True)
    other.write_text("#!/bin/sh\n")
    ended = install(kit)
    assert (ended.code, f"{other} is another program's, and was left alone." in ended.out) == (0, True)
    assert f"rm -r {app} {app.parent}/.lock\n" in ended.out
    assert other.read_text() == "#!/bin/sh\n"


def test_too_little_room_is_told_with_figures(kit: Path, install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(3_000_000))
    ended = install(kit)
    assert (ended.code, "has 3.0 MB free, and the program needs 0.0 MB" in ended.err) == (1, True)


def test_a_second_installation_at_the_same_time_waits_for_the_first(kit: Path, app: Path, install: Install) -> None:
    with Place(app.parent).alone():
        ended = install(kit)
    assert (ended.code, "Another installation is at work" in ended.err) == (1, True)
    assert install(kit).code == 0


def test_an_interrupt_is_told_and_the_next_run_goes_on(kit: Path, home: Path, install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run, "ask_demo", interrupt)
        ended = install(kit)
        assert (ended.code, "Run ./install again" in ended.err) == (130, True)
    ended = install(kit)
    assert (ended.code, "did not come to its end was cleared away" in ended.out) == (0, True)
    assert version_of(home) == "0.1.0"


# Places


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["app.new"], []),
        (["app"], ["app"]),
        (["app", "app.new"], ["app"]),
        (["app.old", "app.new"], ["app from app.old"]),
        (["app.old"], ["app from app.old"]),
        (["app", "app.old"], ["app"]),
        (["app unproven"], []),
        (["app unproven", "app.old"], ["app from app.old"]),
        (["app.new unproven", "app.old"], ["app from app.old"]),
        (["app.new unproven", "app"], ["app"]),
    ],
)
def test_whatever_a_kill_left_one_whole_program_is_there(tmp_path: Path, before: list[str], after: list[str]) -> None:
    for name, *unproven in map(str.split, before):
        (tmp_path / name).mkdir()
        (tmp_path / name / MARK).write_text(json.dumps({"from": name}))
        if unproven:
            (tmp_path / name / UNPROVEN).touch()
    Place(tmp_path).recover()
    left = [path.name for path in tmp_path.iterdir()]
    assert left == [name.split()[0] for name in after]
    if after:
        assert Place(tmp_path).installed()["from"] == after[0].split()[-1]


def test_a_disk_that_refuses_in_mid_exchange_gives_the_old_one_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("app", "app.new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / MARK).write_text(json.dumps({"from": name}))

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(place, "move_environment", refuse)
    with pytest.raises(OSError, match="No space"):
        Place(tmp_path).take({}, lambda: None)
    assert Place(tmp_path).installed() == {"from": "app"}


@pytest.mark.parametrize(("step", "number"), [("touch", 1), ("rename", 1), ("rename", 2), ("rename", 3), ("rename", 4), ("rmtree", 1)])
def test_an_upgrade_that_fails_and_is_interrupted_again_at_any_step_loses_neither_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, number: int
) -> None:
    for name in ("app", "app.new"):
        (tmp_path / name / "bin").mkdir(parents=True)
        for file in (MARK, "pyvenv.cfg", "bin/qwq"):
            (tmp_path / name / file).write_text(json.dumps({"from": name}))
    where = shutil if step == "rmtree" else Path
    whole = getattr(where, step)
    calls: list[Path] = []

    def interrupt(path: Path, *arguments: object, **options: object) -> object:
        calls.append(path)
        if len(calls) < number:
            return whole(path, *arguments, **options)
        if step == "rmtree":
            (path / MARK).unlink()  # as far as it came
        raise KeyboardInterrupt

    def fail() -> None:
        raise InstallError("It does not run.", "")

    with monkeypatch.context() as patch:
        patch.setattr(where, step, interrupt)
        with pytest.raises(KeyboardInterrupt):
            Place(tmp_path).take({}, fail)
    Place(tmp_path).recover()
    assert [path.name for path in tmp_path.iterdir()] == ["app"]
    assert [(tmp_path / "app" / file).read_text() for file in (MARK, "pyvenv.cfg", "bin/qwq")] == [json.dumps({"from": "app"})] * 3


# Models


def test_a_model_that_was_half_copied_is_gone_on_with(kit: Path, home: Path, install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EXDEV, "other disk")))
    content = (kit / "models/QwQ-32B-Q8_0.gguf").read_bytes()
    part = home / f"models/.partial/QwQ-32B-Q8_0.gguf.{sha256(content)[:12]}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(content[:200])
    shutil.copy(kit / "models/QwQ-32B-Q8_0.gguf.json", part.with_name(part.name + ".json"))
    assert [pull.done_bytes for pull in unfinished_pulls()] == [200]
    told: list[int] = []
    models.put_model(kit, gguf_of(kit), home / "models", told.append)
    assert told == [len(content)]
    assert (home / "models/QwQ-32B-Q8_0.gguf").read_bytes() == content
    assert unfinished_pulls() == []
    assert install(kit).code == 0


def gguf_of(kit: Path) -> KitFile:
    [file] = [each for each in read_manifest(kit).under("models") if each.path.endswith(".gguf")]
    return file


def test_a_model_that_a_pull_is_writing_is_left_to_it(kit: Path, home: Path, install: Install) -> None:
    file = gguf_of(kit)
    pulled = part_path(home / "models/QwQ-32B-Q8_0.gguf", Record("", "", "", file.size_bytes, file.sha256))
    pulled.parent.mkdir(parents=True)
    pulled.write_bytes(b"GGUF")
    with WeakFileLock(pulled.with_suffix(".lock")):
        ended = install(kit)
    assert (ended.code, ended.out.count("Done")) == (1, 0)
    assert f"error: Another installation, or qwq pull, is writing {home}/models/QwQ-32B-Q8_0.gguf.\nhint: Wait" in ended.err
    assert pulled.read_bytes() == b"GGUF"


def test_no_pull_begins_on_a_model_that_an_installation_writes(kit: Path, home: Path) -> None:
    refused: list[bool] = []

    def pull_too(_: int) -> None:
        [lock] = (home / "models/.partial").glob("*.lock")
        with pytest.raises(TimeoutError), WeakFileLock(lock, timeout=0.01):
            pytest.fail("two write one file")
        refused.append(True)

    models.put_model(kit, gguf_of(kit), home / "models", pull_too)
    assert refused == [True]


def test_a_model_of_another_length_than_the_kits_does_not_get_its_name(kit: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = gguf_of(kit)

    def copy(source: Path, target: Path, _: object) -> str:
        target.write_bytes(source.read_bytes() + b"written by somebody else too")
        return file.sha256

    monkeypatch.setattr(models, "copy", copy)
    monkeypatch.setattr(models, "_link", lambda *_: False)
    with pytest.raises(InstallError, match="did not arrive whole"):
        models.put_model(kit, file, home / "models", lambda _: None)
    assert local_models() == []


@pytest.mark.parametrize(("free", "code"), [(0.5, 0), (0.2, 1)])
def test_room_is_asked_for_what_is_not_copied_yet(
    kit: Path, home: Path, install: Install, monkeypatch: pytest.MonkeyPatch, free: float, code: int
) -> None:
    class Usage(NamedTuple):
        free: int

    file, whole = gguf_of(kit), (kit / "models/QwQ-32B-Q8_0.gguf").read_bytes()
    part = models.part_path(file, home / "models")
    part.parent.mkdir(parents=True)
    part.write_bytes(whole[: len(whole) * 3 // 4])
    monkeypatch.setattr(run, "SPARE_BYTES", 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(int(len(whole) * free) if home / "models" == folder else 10**9))
    ended = install(kit)
    assert (ended.code, "the model needs" in ended.err) == (code, code == 1)


@pytest.mark.parametrize("name", ["_read", "copy"])
def test_a_stick_that_cannot_be_read_is_told_from_a_disk_that_cannot_be_written(
    kit: Path, home: Path, install: Install, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def refuse(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(models, "_link", lambda *_: False)
    if name == "_read":
        real = Path.open

        def opened(path: Path, *arguments: object, **options: object) -> object:
            is_of_the_stick = kit in path.parents and path.suffix == ".gguf"
            return Unreadable(refuse) if is_of_the_stick else real(path, *arguments, **options)  # type: ignore[call-overload] # passed on

        monkeypatch.setattr(Path, "open", opened)
    else:
        monkeypatch.setattr(models, name, refuse)
    ended = install(kit)
    told = f"{kit}/models/QwQ-32B-Q8_0.gguf cannot be read" if name == "_read" else f"{home}/.local/share/qwq-local cannot be written"
    hint = "Check the stick, or copy the kit again." if name == "_read" else "Make it writable"
    assert (ended.code, ended.err.startswith(f"error: {told}: Input/output error.\nhint: {hint}")) == (1, True), ended.err


class Unreadable(io.RawIOBase):
    """A file of a stick that was pulled out."""

    def __init__(self, read: Callable[..., bytes]) -> None:
        self.read = read  # type: ignore[method-assign] # what fails

    def seek(self, offset: int, _whence: int = 0) -> int:
        return offset


def test_another_file_of_the_models_name_is_not_overwritten(kit: Path, home: Path, install: Install) -> None:
    mine = home / "models/QwQ-32B-Q8_0.gguf"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    ended = install(kit)
    assert (ended.code, f"{mine} is there already, and is not the kit's." in ended.err) == (1, True)
    assert mine.read_bytes() == b"mine"
    assert not (home / ".local/bin/qwq").exists()
    assert install(kit, "--no-model").code == 0


# Machines


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"platform": "windows-x86_64"}, "This kit is for windows-x86_64; this machine is "),
        ({"cpu_flags": ("avx2048",)}, "compiled for processors with avx2048, which this one lacks"),
        ({"glibc": "2.999"}, "This kit needs glibc 2.999 or newer; here is 2."),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for its processor and its C library")
def test_a_kit_for_another_machine_says_which(tmp_path: Path, install: Install, said: dict[str, object], told: str) -> None:
    write_kit(tmp_path / "kit", {"a": b"a"}, (), **said)
    ended = install(tmp_path / "kit")
    assert (ended.code, told in ended.err) == (1, True), ended.err


@pytest.mark.parametrize(
    ("system", "processor", "named"),
    [
        ("linux", "x86_64", "linux-x86_64"),
        ("linux", "aarch64", "linux-aarch64"),
        ("darwin", "arm64", "macos-arm64"),
        ("darwin", "x86_64", "macos-x86_64"),
        ("win32", "AMD64", "windows-x86_64"),
        ("linux", "riscv64", "linux-riscv64"),
    ],
)
def test_machines_have_one_name_each(monkeypatch: pytest.MonkeyPatch, system: str, processor: str, named: str) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: processor)
    assert machine.this_platform() == named


def test_musl_is_told_from_glibc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    with pytest.raises(InstallError, match=r"needs glibc 2\.28, and the C library here is another \(musl"):
        machine.require_machine(write_kit(tmp_path, {}, glibc="2.28"))


def test_what_a_processor_can_do_is_read_where_linux_tells_it(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nflags\t\t: fpu avx2 fma\n\nprocessor\t: 1\nFeatures : asimd\n")
    assert machine.cpu_flags(tmp_path / "cpuinfo") == {"fpu", "avx2", "fma", "asimd"}
    assert machine.cpu_flags(tmp_path / "none") == set()


def test_variables_that_lead_a_python_astray_are_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTHONPATH", "PYTHONHOME", "PIP_INDEX_URL", "VIRTUAL_ENV"):
        monkeypatch.setenv(name, "elsewhere")
    assert "elsewhere" not in environment.clean_variables().values()


# All of it, with a real environment and pip


@pytest.fixture
def real_kit(tmp_path: Path) -> Path:
    """A kit whose program is a few lines of Python, installed by the pip that is installed here."""
    folder = tmp_path / "real kit"
    code = (
        "import json, sys\n"
        "def main():\n"
        "    print('1' if '--version' in sys.argv else json.dumps({'content': 'by ' + sys.executable}))\n"
        "if __name__ == '__main__':\n"
        "    main()\n"
    )
    files = {
        "qwq_local/__init__.py": b"",
        "qwq_local/cli.py": code.encode(),
        "qwq_local-0.1.0.dist-info/entry_points.txt": b"[console_scripts]\nqwq = qwq_local.cli:main\n",
    }
    write_wheel(folder / "wheels", "qwq-local", "0.1.0", requires=["needed>=2; python_version >= '3.11'"], files=files)
    write_wheel(folder / "wheels", "needed", "2.1", files={"needed.py": b""})
    try:
        own_wheel.repack(distribution("pip"), folder / "wheels")
    except PackageNotFoundError:
        pytest.skip("there is no pip here")
    own = resources.files("qwq_local.kit")
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    texts = starters_text.render(own / "starters", [here])
    parts = {f"installer/{source.name}": source.read_bytes() for source in (own / "installer").iterdir() if source.name.endswith(".py")}
    parts |= {f"wheels/{path.name}": path.read_bytes() for path in (folder / "wheels").iterdir()}
    write_kit(folder, {**parts, **{name: text.encode() for name, text in texts.items()}}, pythons=(here,))
    return folder


@pytest.mark.slow
def test_a_real_kit_survives_a_kill_and_installs_without_pip_in_a_folder_with_a_space(
    real_kit: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)  # it may lead to the real program
    command = ["/bin/sh", str(real_kit / "install"), "--python", sys.executable, "--to", str(home / "my programs")]
    place = home / "my programs"
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    assert process.stdout is not None
    with process.stdout:
        wait_until(lambda: (place / "app.new/pyvenv.cfg").exists() or process.poll() is not None)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not (place / "app").exists()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"It says: by {place / 'app.new/bin/python'}" in done.stdout
    answered = subprocess.run([str(home / ".local/bin/qwq"), "ask"], capture_output=True, text=True, check=True)
    assert json.loads(answered.stdout) == {"content": f"by {place / 'app/bin/python'}"}
    assert not list(real_kit.rglob("__pycache__"))
    packages = {path.name.split("-")[0] for path in (place / "app").glob("lib/python*/site-packages/*.dist-info")}
    assert packages == {"needed", "pip", "qwq_local"}


@pytest.mark.slow
def test_pip_builds_nothing_that_lies_among_the_wheels_and_needs_no_home_folder(
    real_kit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tarfile.open(real_kit / "wheels/needed-9.9.tar.gz", "w:gz") as archive:
        (tmp_path / "setup.py").write_text("raise SystemExit('was built')")
        archive.add(tmp_path / "setup.py", "needed-9.9/setup.py")
    homes: list[str] = []
    whole = subprocess.run

    def run_seen(command: list[str], env: dict[str, str], **options: object) -> object:
        homes.append(env.get("HOME", "none"))
        return whole(command, env=env, **options)  # type: ignore[call-overload] # passed on

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(subprocess, "run", run_seen)
    environment.make_environment(tmp_path / "made", real_kit, read_manifest(real_kit))
    assert list((tmp_path / "made").glob("lib/python*/site-packages/needed-2.1.dist-info"))
    assert set(homes) == {str(tmp_path / "made")}
