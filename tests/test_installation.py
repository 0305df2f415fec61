"""How this program came to a machine is told by marks that the installers themselves leave."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import qwq_local
from qwq_local import installation
from qwq_local.installation import DEB_FOLDER, KIT_MARK, Installation, Kind, find_installation
from tests.programs import WAIT_SECONDS

PACKAGES = Path(qwq_local.__file__).parents[1]
ASK = """
import sys
sys.path.append(sys.argv[1])
from qwq_local.installation import find_installation
found = find_installation()
print(found.kind, found.folder, *found.program, sep="\\n")
"""


class Environment(NamedTuple):
    """A virtual environment, and what the program in it says of itself."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")

    @property
    def site(self) -> Path:
        found = "Lib/site-packages" if sys.platform == "win32" else f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
        return self.folder / found

    def install(self, direct_url: object = None) -> None:
        """What pip records of an installed package; of one that came from an index there is no direct_url.json (PEP 610)."""
        told = self.site / "qwq_local-1.2.3.dist-info"
        told.mkdir(exist_ok=True)
        (told / "METADATA").write_text("Metadata-Version: 2.1\nName: qwq-local\nVersion: 1.2.3\n", "utf-8")
        if direct_url is not None:
            (told / "direct_url.json").write_text(json.dumps(direct_url), "utf-8")

    def ask(self) -> list[str]:
        """Kind, folder, and the program's words."""
        command = [str(self.python), "-I", "-c", ASK, str(PACKAGES)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_SECONDS, check=True)
        return done.stdout.splitlines()


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    made = Environment(tmp_path / "venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", made.folder], timeout=WAIT_SECONDS, check=True)
    return made


@pytest.mark.parametrize(
    ("direct_url", "kind"),
    [
        (None, "pip"),
        ({"url": "file:///wheels/qwq_local-1.2.3.whl", "archive_info": {}}, "pip"),
        ({"url": "file:///src/qwq", "dir_info": {}}, "pip"),
        ({"url": "file:///src/qwq", "dir_info": {"editable": False}}, "pip"),
        ({"url": "https://github.com/x/qwq", "vcs_info": {"vcs": "git", "commit_id": "0" * 40}}, "pip"),
        ({"url": "file:///src/qwq", "dir_info": {"editable": True}}, "source"),
    ],
)
def test_an_installation_by_pip_is_told_from_an_editable_one(environment: Environment, direct_url: object, kind: Kind) -> None:
    environment.install(direct_url)
    found, folder, *program = environment.ask()
    assert (found, folder) == (kind, str(environment.folder))
    assert program == [str(environment.python), "-m", "qwq_local.cli"]


@pytest.mark.parametrize(("mark", "kind"), [("pipx_metadata.json", "pipx"), ("uv-receipt.toml", "uv"), (KIT_MARK, "kit")])
def test_whoever_made_the_environment_has_marked_it(environment: Environment, mark: str, kind: Kind) -> None:
    environment.install({"url": "file:///src/qwq", "dir_info": {"editable": True}})
    (environment.folder / mark).write_text("{}", "utf-8")
    assert environment.ask()[0] == kind


def test_the_environments_own_script_starts_it_where_there_is_one(environment: Environment) -> None:
    environment.install()
    script = environment.python.with_name("qwq.exe" if sys.platform == "win32" else "qwq")
    script.touch()
    assert environment.ask() == ["pip", str(environment.folder), str(script)]


def test_what_was_never_installed_runs_from_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "DISTRIBUTION", "qwq-local-that-is-not-there")
    assert find_installation().kind == "source"


@pytest.mark.parametrize(
    ("program", "kind"),
    [
        (Path("/home/me/qwq-local/qwq"), "app"),
        (Path("/Applications/QwQ.app/Contents/MacOS/qwq"), "app"),
        (DEB_FOLDER / "qwq", "deb"),
        (Path(f"{DEB_FOLDER}-mine/qwq"), "app"),
    ],
)
def test_a_frozen_program_is_an_app_or_the_debian_package(monkeypatch: pytest.MonkeyPatch, program: Path, kind: Kind) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "executable", str(program))
    found = find_installation()
    assert found == Installation(kind, (str(program),), program.parent)
    assert not found.has_pip


@pytest.mark.parametrize("kind", ["pip", "pipx", "uv", "source", "kit"])
def test_packages_can_be_exchanged_in_an_environment(kind: Kind) -> None:
    assert Installation(kind, ("qwq",), Path("/venv")).has_pip
