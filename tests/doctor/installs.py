"""A folder of packages with a small llama-cpp-python in it, and a pip that puts another beside it."""

from __future__ import annotations

import hashlib
import json
import os
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from qwq_local.doctor.fetch import Source
from qwq_local.doctor.remedy import Choice
from qwq_local.doctor.running import Ended, Order
from qwq_local.doctor.site import find_installed
from qwq_local.doctor.swap import Swapper, Wish
from qwq_local.doctor.trial import Expected
from tests.doctor.test_diagnosis import SYSTEM

OLD, NEW = "0.3.36", "0.3.40"
CPU: Final = Wish(Choice("cpu"), Expected(), Source("https://mirror.example/whl"))
TRIAL: Final = {
    "offloads": False,
    "devices": [{"name": "CPU", "description": "A processor", "kind": "cpu"}],
    "placed": {"CPU": 21},
    "token": " +",
}
ON_GPU: Final = {
    "offloads": True,
    "devices": [
        {"name": "CUDA0", "description": "NVIDIA GeForce RTX 3090", "kind": "gpu"},
        {"name": "CPU", "description": "A processor", "kind": "cpu"},
    ],
    "placed": {"CUDA0": 21},
    "token": " +",
}


def install(site: Path, version: str, extra: Mapping[str, str] | None = None, by: str = "pip") -> None:
    """What an installer leaves of one version, beside what is already there; `extra` are files of this version alone."""
    info = f"llama_cpp_python-{version}.dist-info"
    files = {
        "llama_cpp/__init__.py": f"__version__ = '{version}'\n",
        "llama_cpp/lib/libllama.so": f"the library of {version}\n" * 40,
        "include/llama.h": f"/* {version} */\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: llama-cpp-python\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: py3-none-linux_x86_64\n",
        f"{info}/INSTALLER": f"{by}\n",
        **(extra or {}),
    }
    rows = []
    for name, text in files.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
        digest = urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        rows.append(f"{name},sha256={digest},{len(text)}")
    rows += ["llama_cpp/__pycache__/__init__.cpython-311.pyc,,", f"{info}/RECORD,,"]
    (site / info / "RECORD").write_text("\n".join(rows) + "\n")


def installing(version: str, extra: Mapping[str, str] | None = None) -> Callable[[Path], Ended]:
    """A pip that puts that version into its target."""

    def pip(target: Path) -> Ended:
        install(target, version, extra)
        return Ended(0)

    return pip


def old_site(folder: Path) -> Path:
    """A folder of packages: llama-cpp-python, a file that its owner put beside it, Python's cache, and another package."""
    site = folder / "site-packages"
    install(site, OLD, {"llama_cpp/of_the_old.py": "old = 1\n"})
    (site / "llama_cpp/lib/libllama.so").chmod(0o755)
    (site / "llama_cpp/__pycache__").mkdir()
    (site / "llama_cpp/__pycache__/__init__.cpython-311.pyc").write_bytes(b"\0cache")
    (site / "llama_cpp/lib/libmine.so").write_text("my own backend\n")
    (site / "include/another.h").write_text("another package's\n")
    return site


def contents(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every file below a folder with its mode, the time of its last change and its bytes; every link with its target; and every folder."""
    found = {}
    for path in folder.rglob("*"):
        changed_ns, held = (path.stat().st_mtime_ns, path.read_bytes()) if path.is_file() else (0, b"")
        if path.is_symlink():
            changed_ns, held = 0, os.fsencode(path.readlink())
        found[path.relative_to(folder).as_posix()] = (path.lstat().st_mode, changed_ns, held)
    return found


class FakePrograms:
    """Stands for pip and for the trial: pip installs `new` into its target, the trial finds what `said` says."""

    def __init__(self, site: Path, said: Mapping[str, object] = TRIAL) -> None:
        self.site, self.said = site, said
        self.orders: list[Order] = []
        self.pip = installing(NEW, {"llama_cpp/of_the_new.py": "new = 1\n"})
        self.tried: list[Ended | None] = []
        """What trials end with, the first one first; None, and after the last, as `said` says."""

    def __call__(self, order: Order) -> Ended:
        self.orders.append(order)
        if "--target" in order.arguments:
            return self.pip(Path(order.arguments[order.arguments.index("--target") + 1]))
        ended = self.tried.pop(0) if self.tried else None
        return ended or Ended(0, json.dumps({"file": str(self._found(order) / "llama_cpp/llama_cpp.py"), "version": NEW, **self.said}))

    def _found(self, order: Order) -> Path:
        return Path(order.environment.get("PYTHONPATH", str(self.site)).partition(":")[0])


class Place:
    """An environment of its own, and what exchanges llama.cpp in it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.site, self.data = folder, old_site(folder), folder / "data"
        self.run = FakePrograms(self.site)
        self.told: list[str] = []

    def swapper(self) -> Swapper:
        return Swapper(SYSTEM, self.data, self.told.append, self.run, self.site)

    def version(self) -> str:
        found = find_installed(self.site)
        return found.version if found else "none"
