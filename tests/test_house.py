"""The rules of the house are checked: a violation planted in a copy is caught, and named by its file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.source import ROOT, in_the_source_tree

pytestmark = in_the_source_tree
LINT_IMPORTS = (str(Path(sysconfig.get_path("scripts")) / "lint-imports"), "--no-cache")
RUFF = (sys.executable, "-m", "ruff", "check", "--no-cache", ".")
MYPY = (sys.executable, "-m", "mypy", "-p", "qwq_local", "-p", "qwq_convert")


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A copy of the packages with the configuration of their tools."""
    for package in ("qwq_local", "convert"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "*.gguf"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def check(house: Path, *command: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(house), str(house / "convert")])
    environment = os.environ | {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200", "NO_COLOR": "1"}
    return subprocess.run(command, cwd=house, env=environment, capture_output=True, text=True, timeout=250, check=False)


def plant(house: Path, file: str, line: str) -> None:
    path = house / file
    assert path.exists()
    with path.open("a", encoding="utf-8") as source:
        source.write(f"\n\n{line}\n")


def module_of(file: str) -> str:
    return file.removeprefix("convert/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def test_the_house_itself_keeps_the_import_contracts(house: Path) -> None:
    done = check(house, *LINT_IMPORTS)
    assert (done.returncode, "0 broken" in done.stdout) == (0, True), done.stdout
    assert "KEPT" in done.stdout


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("qwq_local/errors.py", "import qwq_local.card", "Imports go down the house only"),
        ("qwq_local/settings.py", "import qwq_local.backend", "Imports go down the house only"),
        ("qwq_local/engine/scheduler.py", "import qwq_local.runtime", "Imports go down the house only"),
        ("qwq_local/engine/text.py", "import qwq_local.llama", "Imports go down the house only"),
        ("qwq_local/prompt.py", "import qwq_local.models.store", "Imports go down the house only"),
        ("qwq_local/runtime.py", "def late() -> None:\n    import qwq_local.cli", "Imports go down the house only"),
        ("qwq_local/runtime.py", "import qwq_local.agent", "Imports go down the house only"),
        ("qwq_local/agent/loop.py", "import qwq_local.cli", "Imports go down the house only"),
        ("qwq_local/agent/loop.py", "import llama_cpp", "Only qwq_local.llama imports llama_cpp and llguidance"),
        ("convert/qwq_convert/pipeline.py", "import qwq_local.runtime", "The converter knows nothing of what runs models"),
        ("qwq_local/runtime.py", "import llama_cpp", "Only qwq_local.llama imports llama_cpp and llguidance"),
        ("qwq_local/models/store.py", "from llama_cpp import llama_cpp", "Only qwq_local.llama imports llama_cpp and llguidance"),
        ("qwq_local/cli/ask.py", "def late() -> None:\n    import llama_cpp", "Only qwq_local.llama imports llama_cpp and llguidance"),
        ("qwq_local/runtime.py", "import llguidance", "Only qwq_local.llama imports llama_cpp and llguidance"),
        ("convert/qwq_convert/writer.py", "import llama_cpp", "Only qwq_local.llama imports llama_cpp and llguidance"),
        ("qwq_local/server/ollama/lines.py", "import qwq_local.server.openai.chat", "Wire formats do not know each other"),
        ("qwq_local/doctor/facts.py", "import pynvml", "Only qwq_local.machine imports psutil and pynvml"),
        ("qwq_local/plan/plan.py", "import qwq_local.machine.hardware", "The plan sees a machine, and asks none"),
        ("qwq_local/engine/scheduler.py", "import jinja2", "Pure rooms need the standard library only"),
        ("qwq_local/gguf.py", "import numpy", "Pure rooms need the standard library only"),
        ("qwq_local/settings.py", "import click", "Pure rooms need the standard library only"),
        ("qwq_local/plan/memory.py", "import psutil", "Pure rooms need the standard library only"),
    ],
)
def test_an_import_that_breaks_a_contract_is_caught(house: Path, file: str, line: str, broken: str) -> None:
    plant(house, file, line)
    done = check(house, *LINT_IMPORTS)
    assert done.returncode == 1, done.stdout
    assert f"{broken} BROKEN" in done.stdout
    assert f"{module_of(file)} -> " in done.stdout


def test_a_circle_of_imports_is_caught_and_its_mend_is_told(house: Path) -> None:
    plant(house, "qwq_local/engine/text.py", "import qwq_local.engine.thinking")
    done = check(house, *LINT_IMPORTS)
    assert done.returncode == 1, done.stdout
    assert "No circles within a room BROKEN" in done.stdout
    assert "Move what both need into a third file." in done.stdout


def test_ruff_finds_nothing_in_the_house_itself(house: Path) -> None:
    done = check(house, *RUFF)
    assert done.returncode == 0, done.stdout


BRANCHES = "".join(f"    if a == {i}:\n        return {i}\n" for i in range(2, 12))


@pytest.mark.parametrize(
    ("file", "line", "rule"),
    [
        ("qwq_local/engine/text.py", f'def planted(a: int) -> int:\n    """Branch."""\n{BRANCHES}    return a', "C901"),
        ("qwq_local/engine/text.py", 'def planted(a):\n    """Leave out the types."""\n    return a', "ANN001"),
        (
            "qwq_local/engine/text.py",
            'def planted(a: int, b: int, c: int, d: int, e: int, f: int, g: int) -> None:\n    """Ask much."""',
            "PLR0913",
        ),
        ("qwq_local/engine/text.py", "def planted() -> None:\n    pass", "D103"),
        ("qwq_local/runtime.py", 'print("here")', "T201"),
        ("qwq_local/runtime.py", "try:\n    N_BATCH\nexcept Exception:\n    pass", "BLE001"),
        ("qwq_local/runtime.py", "import convert", "TID251"),
        ("convert/qwq_convert/pipeline.py", "import convert.qwq_convert", "TID251"),
        ("qwq_local/card.py", "LINE = " + "1 + " * 40 + "1", "E501"),
    ],
)
def test_bad_style_is_caught(house: Path, file: str, line: str, rule: str) -> None:
    plant(house, file, line)
    done = check(house, *RUFF, "--output-format", "concise")
    assert done.returncode == 1, done.stdout
    assert any(told.startswith(f"{file}:") and f" {rule} " in told for told in done.stdout.splitlines()), done.stdout


def test_badly_laid_out_code_is_caught(house: Path) -> None:
    formatted = (sys.executable, "-m", "ruff", "format", "--no-cache", "--check", ".")
    assert check(house, *formatted).returncode == 0
    plant(house, "qwq_local/card.py", "PLANTED = {  'a':1 }")
    done = check(house, *formatted)
    assert done.returncode == 1
    assert "qwq_local/card.py" in done.stdout


@pytest.mark.slow
def test_a_wrong_type_is_caught_and_the_house_itself_has_none(house: Path) -> None:
    clean = check(house, *MYPY)
    assert clean.returncode == 0, clean.stdout
    plant(house, "qwq_local/engine/scheduler.py", 'PLANTED: int = "text"')
    plant(house, "convert/qwq_convert/pipeline.py", "def planted(x):  # noqa\n    return x")
    done = check(house, *MYPY)
    assert done.returncode == 1
    errors = [line for line in done.stdout.splitlines() if " error: " in line]
    assert {line.split(":")[0] for line in errors} == {"qwq_local/engine/scheduler.py", "convert/qwq_convert/pipeline.py"}


def test_no_file_of_the_packages_is_named_for_nothing() -> None:
    names = {path.stem.strip("_") for folder in ("qwq_local", "convert") for path in (ROOT / folder).rglob("*.py")}
    assert names.isdisjoint({"utils", "util", "helpers", "helper", "common", "misc"})


def test_packaging_is_no_package() -> None:
    assert not (ROOT / "packaging" / "__init__.py").exists(), "it would shadow PyPI's packaging"
    assert not (ROOT / "convert" / "__init__.py").exists(), "convert is a folder; the package is qwq_convert"
