"""What `doctor` looks at, as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePath

from qwq_local.builds import Vendor, Version
from qwq_local.machine.processes import Process


@dataclass(frozen=True)
class Gpu:
    """A GPU as the system, not llama.cpp, sees it.

    `holders` are the programs in its memory, `capability` is the compute capability of one of NVIDIA's, where its driver tells.
    """

    vendor: Vendor
    name: str
    total_bytes: int
    holders: tuple[Process, ...] = ()
    capability: Version | None = None


@dataclass(frozen=True)
class Build:
    """The llama.cpp that is installed: `failure` is why it does not load, and then the rest is unknown.

    `features` are what of the CPU it was compiled to use, as llama_print_system_info names it; `cuda` is the major version it was
    linked against, None without CUDA.
    """

    offloads: bool = False
    features: frozenset[str] = frozenset()
    cuda: int | None = None
    failure: str = ""


@dataclass(frozen=True)
class Packager:
    """What exchanges packages here: the `command` that an install begins with (empty: this Python's pip).

    `problem` is why none can be exchanged, and `remedy` then the command that helps.
    """

    command: tuple[str, ...] = ()
    problem: str = ""
    remedy: str = ""

    @property
    def is_uv(self) -> bool:
        """Whether that is uv, which calls some options otherwise than pip does."""
        return bool(self.command) and PurePath(self.command[0]).stem == "uv"


@dataclass(frozen=True)
class System:
    """The machine beside its GPUs; `cpu_features` in the names of `Build.features`, `files_limit` soft and hard (None: no such limit).

    `ram_limit_bytes` is what a container allows, `driver_cuda` the newest CUDA that NVIDIA's driver runs, `rocm` the version of ROCm here.
    `missing_tools` are those of `remedy.TOOLS` that are not here, `installs_with` the program that installs the system's packages.
    """

    os: str
    machine: str
    python: str
    ram_total_bytes: int
    ram_available_bytes: int
    ram_limit_bytes: int | None = None
    largest: Process | None = None
    cpu_features: frozenset[str] = frozenset()
    files_limit: tuple[int, int] | None = None
    driver_cuda: Version | None = None
    rocm: Version | None = None
    missing_tools: frozenset[str] = frozenset()
    installs_with: str = ""
    packager: Packager = field(default_factory=Packager)


@dataclass(frozen=True)
class BadFile:
    """A model file that cannot be used, and the command that its owner's program mends it with."""

    name: str
    problem: str
    command: str


@dataclass(frozen=True)
class Store:
    """The folder of models; `roomier` is a folder on another disk with more room and its free bytes."""

    folder: str
    free_bytes: int
    is_writable: bool = True
    has_model: bool = False
    roomier: tuple[str, int] | None = None
    bad_files: tuple[BadFile, ...] = ()


@dataclass(frozen=True)
class Unfinished:
    """An exchange of llama.cpp that was broken off: the build that was to come, and whether files were already being exchanged."""

    build: str
    has_begun: bool


@dataclass(frozen=True)
class Facts:
    """All that is looked at."""

    system: System
    build: Build
    store: Store
    gpus: tuple[Gpu, ...] = ()
    unfinished: Unfinished | None = None

    @property
    def capabilities(self) -> tuple[Version, ...]:
        """The compute capabilities of the GPUs, as far as they are told."""
        return tuple(gpu.capability for gpu in self.gpus if gpu.capability)
