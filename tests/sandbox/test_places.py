"""What a confined program sees of this machine's files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qwq_local.sandbox import run_program
from qwq_local.sandbox.places import arranged, readable_places


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    for folder in ("usr/lib/python", "opt/python-3/lib", "opt/python-3/bin"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "opt/python-3/bin/python").touch()
    (tmp_path / "lib").symlink_to("usr/lib")
    (tmp_path / "opt/python").symlink_to("python-3")
    return tmp_path


def test_links_are_shown_as_links_and_nothing_twice(machine: Path) -> None:
    python = str(machine / "opt/python-3/bin/python")
    paths = [python, *(str(machine / each) for each in ("opt/python/lib", "lib", "lib64", "usr/lib", "usr/lib/python", "lib/python"))]
    found = arranged(python, paths)
    assert found.executable == python
    assert found.trees == tuple(sorted((python, str(machine / "opt/python-3/lib"), str(machine / "usr/lib"))))
    assert found.links == (
        (str(machine / "lib"), str(machine / "usr/lib")),
        (str(machine / "opt/python/lib"), str(machine / "opt/python-3/lib")),
    )


def test_neither_the_home_folder_nor_this_project_is_among_them() -> None:
    trees = readable_places().trees
    for secret in (Path.home(), Path.cwd(), Path("/etc/passwd"), Path("/proc"), Path("/dev")):
        assert not any(os.path.commonpath([tree, secret]) == tree for tree in trees), secret
    assert "/" not in trees


@pytest.mark.usefixtures("confinement")
def test_a_program_sees_these_places_only() -> None:
    source = (
        "import os\nfound = []\nfor folder, folders, files in os.walk('/'):\n    found += [os.path.join(folder, file) for file in files]\n"
        "    folders[:] = [each for each in folders if not os.path.ismount(os.path.join(folder, each))]\nprint('\\n'.join(found))"
    )
    outcome = run_program(source)
    seen = set(outcome.stdout.split())
    trees = readable_places().trees
    assert "/program.py" in seen
    assert all(path == "/program.py" or path in trees for path in seen), outcome
