"""What `doctor` looks at, asked of this machine: one function for each source."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from qwq_local import card
from qwq_local.configuration import find_folders
from qwq_local.doctor.condition import BadFile, Build, Facts, Gpu, Store, System, Unfinished
from qwq_local.doctor.mending import mending
from qwq_local.doctor.packager import find_packager, missing_tools, rocm_version, system_packager
from qwq_local.doctor.running import Ended
from qwq_local.doctor.site import find_site
from qwq_local.doctor.swap_record import SwapRecord
from qwq_local.errors import ModelFileError
from qwq_local.gguf import read_header
from qwq_local.installation import find_installation
from qwq_local.machine import cgroup, nvidia
from qwq_local.machine.hardware import cpu_name, disk_free_bytes, installed_ram_bytes, mount_points, ram_bytes
from qwq_local.machine.processes import largest_process
from qwq_local.models.inventory import LocalModel, local_models
from qwq_local.models.record import read_record

BUILD_PROGRAM: Final = "qwq_local.llama._build"
BUILD_SECONDS: Final = 60
LEAST_VRAM_BYTES: Final = 4 * 2**30
"""What an AMD GPU must have to be worth a build of its own: less is a display's."""
_FEATURES: Final = {"avx": "AVX", "avx2": "AVX2", "fma": "FMA", "f16c": "F16C", "bmi2": "BMI2", "avx512f": "AVX512"}
_WINDOWS_FEATURES: Final = {39: ("avx",), 40: ("avx2", "fma", "f16c", "bmi2"), 41: ("avx512f",)}
"""PF_AVX_INSTRUCTIONS_AVAILABLE and so on (winnt.h); what came into CPUs with AVX2 has no number of its own."""


def gather() -> Facts:
    """All facts of this machine. Raises SettingsError where the settings cannot be read."""
    said = nvidia.ask()
    return Facts(system_facts(said), build_facts(), store_facts(), gpu_facts(said), unfinished())


def system_facts(said: nvidia.Report) -> System:
    """The machine, its CPU and RAM, its driver, and what a process may have."""
    limit = cgroup.memory_limit()
    return System(
        os=platform.system(),
        machine=platform.machine(),
        python=sys.executable,
        ram_total_bytes=installed_ram_bytes(),
        ram_available_bytes=ram_bytes()[1],
        ram_limit_bytes=limit.limit_bytes if limit else None,
        largest=largest_process(),
        cpu_features=cpu_features(),
        files_limit=_files_limit(),
        driver_cuda=said.cuda,
        rocm=rocm_version(),
        missing_tools=missing_tools(),
        installs_with=system_packager(),
        packager=find_packager(find_installation(), find_site()),
    )


def build_facts() -> Build:
    """The installed llama.cpp, asked in a process of its own; an app, which starts no module, asks itself."""
    if getattr(sys, "frozen", False):
        from qwq_local.llama._build import describe_build

        return read_build(0, json.dumps(describe_build()), "")
    try:
        asked = subprocess.run(  # noqa: S603 - ourselves
            [sys.executable, "-P", "-m", BUILD_PROGRAM], capture_output=True, text=True, check=False, timeout=BUILD_SECONDS
        )
    except subprocess.TimeoutExpired:
        return Build(failure=f"it did not answer within {BUILD_SECONDS} s")
    return read_build(asked.returncode, asked.stdout, asked.stderr)


def read_build(status: int, printed: str, told: str) -> Build:
    """What that process's end says of the build."""
    ended = Ended(status, printed, told)
    found = ended.answer
    if status or found is None:
        return Build(failure=ended.reason)
    return Build(found["offloads"], frozenset(found["features"]), found["cuda"])


def unfinished() -> Unfinished | None:
    """The exchange of llama.cpp that was broken off here. Raises InstallationError where its record cannot be read."""
    swap = SwapRecord(find_folders().data, find_site()).broken_off()
    return Unfinished(swap.build, swap.step == "exchanging") if swap else None


def gpu_facts(said: nvidia.Report) -> tuple[Gpu, ...]:
    """The GPUs that the system knows of: NVIDIA's by their driver, AMD's by Linux, Apple's by its chips."""
    if platform.system() == "Darwin":
        chip = cpu_name()
        return (Gpu("Apple", chip, installed_ram_bytes()),) if chip.startswith("Apple") else ()
    cards = (Gpu("NVIDIA", card.name, card.total_bytes, card.holders, card.capability) for card in said.cards)
    return (*cards, *amd_gpus(Path("/sys/class/drm")))


def amd_gpus(drm: Path) -> tuple[Gpu, ...]:
    """AMD's GPUs by what their driver puts into sysfs (Linux, Documentation/gpu/amdgpu/driver-misc.rst)."""
    sizes = [int(path.read_text()) for path in sorted(drm.glob("card*/device/mem_info_vram_total"))]
    return tuple(Gpu("AMD", f"AMD GPU {number}", size) for number, size in enumerate(sizes) if size >= LEAST_VRAM_BYTES)


def store_facts() -> Store:
    """The folder of models, the disks beside it, and the models whose files are damaged."""
    folder = find_folders().models
    models = local_models()
    bad = [bad for model in models if (bad := bad_file(model))]
    names = {file.name for file in bad}
    return Store(
        folder=str(folder),
        free_bytes=disk_free_bytes(folder),
        is_writable=_is_writable(folder),
        has_model=any(model.base == card.NAME and model.name not in names for model in models),
        roomier=_roomier(folder),
        bad_files=tuple(bad),
    )


def bad_file(model: LocalModel) -> BadFile | None:
    """What is wrong with a model's files, as far as their headers and lengths tell, and how to get them anew."""
    for path in model.paths:
        try:
            file_bytes = read_header(path).file_bytes
        except ModelFileError as error:
            return BadFile(model.name, str(error), mending(model, path))
        record = read_record(path)
        if record and record.size_bytes != file_bytes:
            problem = f"{path} has {file_bytes:,} bytes, and had {record.size_bytes:,}."
            return BadFile(model.name, problem, mending(model, path))
    return None


def cpu_features() -> frozenset[str]:
    """What the CPU can do of what llama.cpp may be built for; empty where nobody knows, as on Apple's."""
    if platform.system() == "Windows":
        import ctypes

        kernel = ctypes.windll.kernel32  # type: ignore[attr-defined,unused-ignore] # on Windows only
        flags = [name for number, names in _WINDOWS_FEATURES.items() if kernel.IsProcessorFeaturePresent(number) for name in names]
    else:
        try:
            flags = re.findall(
                r"\w+", Path("/proc/cpuinfo").read_text("utf-8", errors="replace").partition("\nflags")[2].partition("\n")[0]
            )
        except OSError:
            flags = []
    return frozenset(_FEATURES[flag] for flag in flags if flag in _FEATURES)


def _files_limit() -> tuple[int, int] | None:
    if platform.system() == "Windows":
        return None
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = sys.maxsize
    return (most if soft == resource.RLIM_INFINITY else soft), (most if hard == resource.RLIM_INFINITY else hard)


def _is_writable(folder: Path) -> bool:
    """Try it: what permissions say is not all that counts."""
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            return True
    except OSError:
        return False


def _roomier(folder: Path) -> tuple[str, int] | None:
    """The writable disk with most room, where that is more than there is in the folder."""
    rooms = [(disk_free_bytes(place), place) for place in mount_points() if place.is_dir() and os.access(place, os.W_OK)]
    free_bytes, place = max(rooms, default=(0, folder))
    return (str(place / "qwq-models"), free_bytes) if free_bytes > disk_free_bytes(folder) else None
