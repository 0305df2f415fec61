"""What `doctor` looks at, asked of this machine: one function for each source."""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import psutil

from qwq_local import card
from qwq_local.configuration import find_folders
from qwq_local.doctor.condition import BadFile, Build, Facts, Gpu, Process, Store, System
from qwq_local.doctor.mending import mending
from qwq_local.errors import ModelFileError
from qwq_local.gguf import read_header
from qwq_local.machine import cgroup, nvidia
from qwq_local.machine.hardware import cpu_name, disk_free_bytes
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
    return Facts(system_facts(), build_facts(), store_facts(), gpu_facts())


def system_facts() -> System:
    """The machine, its CPU and RAM, and what a process may have."""
    memory, limit = psutil.virtual_memory(), cgroup.memory_limit()
    return System(
        os=platform.system(),
        machine=platform.machine(),
        python=sys.executable,
        ram_total_bytes=memory.total,
        ram_available_bytes=min(memory.available, limit.available_bytes) if limit else memory.available,
        ram_limit_bytes=limit.limit_bytes if limit else None,
        largest=_largest_process(),
        cpu_features=cpu_features(),
        files_limit=_files_limit(),
        driver_cuda=_driver_cuda(),
    )


def build_facts() -> Build:
    """The installed llama.cpp, asked in a process of its own."""
    try:
        asked = subprocess.run([sys.executable, "-m", BUILD_PROGRAM], capture_output=True, text=True, check=False, timeout=BUILD_SECONDS)  # noqa: S603 - ourselves
    except subprocess.TimeoutExpired:
        return Build(failure=f"it did not answer within {BUILD_SECONDS} s")
    return read_build(asked.returncode, asked.stdout, asked.stderr)


def read_build(status: int, printed: str, told: str) -> Build:
    """What that process's end says of the build."""
    if status < 0:
        return Build(failure=signal.strsignal(-status) or f"signal {-status}")
    if status:
        return Build(failure=(told.strip().splitlines() or [f"exit status {status:#x}"])[-1])
    found = json.loads(printed)
    return Build(found["offloads"], frozenset(found["features"]), found["cuda"])


def gpu_facts() -> tuple[Gpu, ...]:
    """The GPUs that the system knows of: NVIDIA's by their driver, AMD's by Linux, Apple's by its chips."""
    if platform.system() == "Darwin":
        chip = cpu_name()
        return (Gpu("Apple", chip, psutil.virtual_memory().total),) if chip.startswith("Apple") else ()
    holders = _vram_holders()
    cards = nvidia.ask().cards
    return (*(Gpu("NVIDIA", c.name, c.total_bytes, holders.get(i, ())) for i, c in enumerate(cards)), *amd_gpus(Path("/sys/class/drm")))


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


def _largest_process() -> Process | None:
    """The program of this user that holds most RAM, and is not ours."""
    own = {os.getpid(), os.getppid()}
    found = [
        Process(process.pid, process.info["name"] or "?", process.info["memory_info"].rss)
        for process in psutil.process_iter(["name", "memory_info", "username"])
        if process.pid not in own and process.info["memory_info"] and process.info["username"] == psutil.Process().username()
    ]
    return max(found, key=lambda process: process.held_bytes, default=None)


def _driver_cuda() -> tuple[int, int] | None:
    """The newest CUDA that NVIDIA's driver runs (NVML, nvmlSystemGetCudaDriverVersion_v2)."""
    import pynvml

    try:
        pynvml.nvmlInit()
        number = pynvml.nvmlSystemGetCudaDriverVersion_v2()
    except pynvml.NVMLError:
        return None
    return number // 1000, number % 1000 // 10


def _vram_holders() -> dict[int, tuple[Process, ...]]:
    """The programs in each NVIDIA GPU's memory, by its number; empty where the driver does not tell."""
    import pynvml

    try:
        pynvml.nvmlInit()
        return {number: _holders(pynvml.nvmlDeviceGetHandleByIndex(number)) for number in range(pynvml.nvmlDeviceGetCount())}
    except pynvml.NVMLError:
        return {}


def _holders(handle: object) -> tuple[Process, ...]:
    import pynvml

    found = [*pynvml.nvmlDeviceGetComputeRunningProcesses(handle), *pynvml.nvmlDeviceGetGraphicsRunningProcesses(handle)]
    held = {process.pid: process.usedGpuMemory or 0 for process in found if process.pid != os.getpid()}
    return tuple(Process(pid, _process_name(pid), held_bytes) for pid, held_bytes in held.items())


def _process_name(pid: int) -> str:
    try:
        return str(psutil.Process(pid).name())
    except psutil.Error:
        return "a program"


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
    places = [Path(partition.mountpoint) for partition in psutil.disk_partitions()]
    rooms = [(disk_free_bytes(place), place) for place in places if place.is_dir() and os.access(place, os.W_OK)]
    free_bytes, place = max(rooms, default=(0, folder))
    return (str(place / "qwq-models"), free_bytes) if free_bytes > disk_free_bytes(folder) else None
