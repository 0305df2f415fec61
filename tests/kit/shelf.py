"""What tests of kits share: wheels of a few lines, an index of such, and a folder that is a kit."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

from qwq_local.errors import WheelLackingError
from qwq_local.kit import earlier, llama_wheel, pip_runs, wheelhouse
from qwq_local.kit.installer.files import sha256_of
from qwq_local.kit.installer.machine import this_platform
from qwq_local.kit.installer.manifest import MANIFEST, SUMS, KitFile, KitModel, Manifest, sums_text, to_json
from qwq_local.kit.platforms import PYTHONS, Platform, find_platform
from qwq_local.kit.wheels import read_wheel
from qwq_local.kit.wish import KitWish

LINUX: Final = find_platform("linux-x86_64")
VERSIONS: Final = {"qwq-local": "0.1.0", "llama-cpp-python": "0.3.36", "numpy": "2.4.6", "click": "8.5.1", "pip": "26.3"}
"""What is installed here, as the tests have it."""
REQUIRES: Final = {
    "qwq-local": ["llama-cpp-python>=0.3.36", "click>=8", "uvloop>=0.2; sys_platform != 'win32'", "mcp>=2; extra == 'mcp'"],
    "llama-cpp-python": ["numpy>=1.20"],
    "click": ["colorama; platform_system == 'Windows'"],
}


def write_wheel(
    folder: Path,
    name: str,
    version: str,
    tag: str = "py3-none-any",
    requires: Iterable[str] = (),
    files: Mapping[str, bytes] = MappingProxyType({}),
) -> Path:
    """A wheel that holds its metadata and some files."""
    stem = f"{name.replace('-', '_')}-{version}"
    path = folder / f"{stem}-{tag}.whl"
    folder.mkdir(parents=True, exist_ok=True)
    needed = "".join(f"Requires-Dist: {line}\n" for line in requires)
    parts = {
        **files,
        f"{stem}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needed}".encode(),
        f"{stem}.dist-info/WHEEL": f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
    }
    with zipfile.ZipFile(path, "w") as archive:
        for inside, content in parts.items():
            archive.writestr(zipfile.ZipInfo(inside), content)
        archive.writestr(
            zipfile.ZipInfo(f"{stem}.dist-info/RECORD"), "".join(f"{inside},,\n" for inside in [*parts, f"{stem}.dist-info/RECORD"])
        )
    return path


class Index:
    """An index of wheels in place of pip's: which wheels there are, by name; what was asked of it is remembered."""

    def __init__(self) -> None:
        self.wheels: dict[str, list[tuple[str, str, tuple[str, ...]]]] = {
            "numpy": [
                ("2.4.6", f"cp{python.replace('.', '')}-cp{python.replace('.', '')}-{tag}", ()) for python in PYTHONS for tag in TAGS
            ],
            "click": [("8.5.1", "py3-none-any", tuple(REQUIRES["click"]))],
            "uvloop": [("0.23.0", f"cp311-abi3-{tag}", ()) for tag in TAGS if "win" not in tag or "darwin" in tag],
            "colorama": [("0.4.6", "py2.py3-none-any", ())],
            "mcp": [("2.3.0", "py3-none-any", ())],
            "pip": [("26.3", "py3-none-any", ())],
        }
        self.asked: list[str] = []
        self.sources: dict[str, str] = {}

    def download(self, requirements: Sequence[str], platform: Platform, python: str, folder: Path, _sources: Sequence[str] = ()) -> None:
        tags = frozenset(platform.tags(python))
        for line in requirements:
            self.asked.append(line)
            wanted = Requirement(line)
            for version, tag, requires in self.wheels.get(wanted.name, []):
                named = parse_wheel_filename(f"x-1-{tag}.whl")[3]
                if wanted.specifier.contains(Version(version)) and not tags.isdisjoint(named):
                    write_wheel(folder, wanted.name, version, tag, requires)
                    break
            else:
                raise WheelLackingError(f"No matching distribution found for {line}", hint="another", package=wanted.name)

    def build(self, requirement: str, folder: Path, **_: object) -> None:
        name = canonicalize_name(Requirement(requirement).name)
        if name not in self.sources:
            raise WheelLackingError("no source either", hint="none", package=name)
        write_wheel(folder, name, requirement.partition("==")[2] or "1.0", self.sources[name])


TAGS: Final = ("manylinux_2_28_x86_64", "manylinux_2_17_aarch64", "macosx_11_0_arm64", "win_amd64")


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Index:
    """The index, and a machine with nothing installed but what VERSIONS says."""
    made = Index()
    monkeypatch.setattr(pip_runs, "download", made.download)
    monkeypatch.setattr(pip_runs, "build", made.build)
    monkeypatch.setattr(
        wheelhouse, "make_own_wheel", lambda folder: write_wheel(folder, "qwq-local", "0.1.0", requires=REQUIRES["qwq-local"])
    )
    for module in (wheelhouse, earlier):
        monkeypatch.setattr(module, "version_here", lambda name: Version(VERSIONS[name]) if name in VERSIONS else None)
    monkeypatch.setattr(wheelhouse, "requires_here", lambda name: REQUIRES.get(name, []) if name in VERSIONS else None)
    monkeypatch.setattr(llama_wheel, "compiles_here", lambda platform, build: platform.name == this_platform() and build == "cpu")
    for name in ("compile_wheel", "fetch_wheel"):
        monkeypatch.setattr(llama_wheel, name, _Llama(made))
    return made


class _Llama:
    """llama.cpp's wheel for any platform, of no content."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def __call__(self, version: Version, build: str, *place: object, **_: object) -> object:
        platform = next((each for each in place if isinstance(each, Platform)), find_platform(this_platform()))
        folder = next(path for path in reversed(place) if isinstance(path, Path) and path.name == wheelhouse.INCOMING)
        self._index.asked.append(f"llama-cpp-python=={version} ({build})")
        return read_wheel(
            write_wheel(folder, "llama-cpp-python", str(version), f"py3-none-{platform.wheel_platforms[-1]}", ["numpy>=1.20"])
        )


def wish(**chosen: object) -> KitWish:
    """For this kind of machine and one Python, unless something else is chosen."""
    return KitWish(**{"platform": LINUX, "pythons": ("3.12",), **chosen})  # type: ignore[arg-type]


def write_kit(folder: Path, files: dict[str, bytes], models: Sequence[str] = (), **said: object) -> Manifest:
    """A finished kit of these files."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    listed = tuple(KitFile(name, len(content), sha256_of(folder / name)) for name, content in files.items())
    fields: dict[str, object] = {
        "version": "0.1.0",
        "platform": this_platform(),
        "pythons": PYTHONS,
        "build": "cpu",
        "requirement": "qwq-local==0.1.0",
        "models": tuple(KitModel(f"{Path(name).stem}", (f"models/{name}",)) for name in models),
        "glibc": "",
        "macos": "",
        "cpu_flags": (),
        "unpacked_bytes": 1000,
        "made_with": ("--quant", "Q4_K_M"),
        "files": listed,
    }
    manifest = Manifest(**{**fields, **said})  # type: ignore[arg-type]
    (folder / SUMS).write_text(sums_text(manifest), "utf-8")
    (folder / MANIFEST).write_text(to_json(manifest), "utf-8")
    return manifest


def flip(path: Path) -> None:
    """One wrong bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
