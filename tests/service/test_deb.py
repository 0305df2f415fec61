"""The Debian package of a small app: what is in it, that the same app gives the same bytes, and what is said of an app that is none."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from qwq_local.cli.completing.shells import script
from qwq_local.service import systemd_unit

BUILD = Path(__file__).parents[2] / "packaging/deb/build.py"
TOOLS = ("dpkg-deb", "dpkg-shlibdeps", "dpkg-query")
pytestmark = pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason="dpkg-dev is not installed")
LICENCE = (
    "Copyright (c) 2020 Somebody\n\nApache License\nVersion 2.0, January 2004\n\n1. Much text.\n\nEND OF TERMS AND CONDITIONS\n\nAppendix"
)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two programs that do nothing, a library that the system has too, and one that it has not."""
    folder = tmp_path_factory.mktemp("app")
    internal, packages = folder / "qwq-local/_internal", folder / "environment/lib/python3.11/site-packages"
    internal.mkdir(parents=True)
    for name in ("qwq", "qwq-desktop"):
        shutil.copy("/bin/true", folder / "qwq-local" / name)
    (internal / "libc.so.6").write_bytes(b"the system's")
    (internal / "libqwqtest.so.1").write_bytes(b"ours")
    about = packages / "some_thing-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: some-thing\nVersion: 1.0\nLicense-Expression: Apache-2.0\n", "utf-8")
    (about / "LICENSE").write_text(LICENCE, "utf-8")
    (about / "RECORD").write_text("some_thing-1.0.dist-info/LICENSE,,\n", "utf-8")
    (folder / "environment/pyvenv.cfg").write_text("home = /nowhere/bin\n", "utf-8")
    return folder / "qwq-local"


def build(app: Path, out: Path) -> subprocess.CompletedProcess[str]:
    given = {"SOURCE_DATE_EPOCH": "1700000000", "DPKG_DEB_COMPRESSOR_TYPE": "gzip"}
    return subprocess.run([sys.executable, BUILD, app, out], capture_output=True, text=True, check=False, env=os.environ | given)


def shell(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_an_app_becomes_a_package_of_the_same_bytes_each_time(app: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        done = build(app, tmp_path / name)
        assert done.returncode == 0, done.stderr
    [first], [second] = ([*(tmp_path / name).glob("*.deb")] for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()
    root = tmp_path / "root"
    shell("dpkg-deb", "--raw-extract", first, root)
    depends = shell("dpkg-deb", "--field", first, "Depends")
    assert depends.startswith("libc6 (>= 2.")
    assert not (root / "usr/lib/qwq-local/_internal/libc.so.6").exists()
    assert (root / "usr/lib/qwq-local/_internal/libqwqtest.so.1").is_file()
    assert (root / "usr/bin/qwq").resolve() == root / "usr/lib/qwq-local/qwq"
    unit = (root / "usr/lib/systemd/user/qwq.service").read_text("utf-8")
    assert "ExecStart=/usr/lib/qwq-local/qwq serve\n" in unit
    assert all(f"ReadWritePaths=-{folder}\n" in unit for folder in systemd_unit.PACKAGED_FOLDERS)
    for shell_name, place in (("bash", "bash-completion/completions/qwq"), ("zsh", "zsh/vendor-completions/_qwq")):
        assert (root / "usr/share" / place).read_text("utf-8") == script(shell_name)
    assert (root / "usr/share/fish/vendor_completions.d/qwq.fish").read_text("utf-8") == script("fish")
    assert gzip.decompress((root / "usr/share/man/man1/qwq.1.gz").read_bytes()).startswith(b'.\\" Written by')
    licences = (root / "usr/share/doc/qwq-local/copyright").read_text("utf-8")
    assert "Files: usr/lib/qwq-local/_internal/some_thing*\nCopyright: Copyright (c) 2020 Somebody\nLicense: Apache-2.0" in licences
    assert "Much text" not in licences
    for line in (root / "DEBIAN/md5sums").read_text("ascii").splitlines():
        digest, path = line.split("  ")
        assert hashlib.md5((root / path).read_bytes()).hexdigest() == digest  # noqa: S324 - dpkg's format


def test_what_is_no_app_is_refused(tmp_path: Path) -> None:
    done = build(tmp_path / "none", tmp_path / "out")
    assert done.returncode == 1
    assert "qwq is missing: python packaging/app/build.py" in done.stderr
    assert not (tmp_path / "out").exists()
