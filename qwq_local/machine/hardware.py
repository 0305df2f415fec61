"""What this machine has. A query that fails becomes a note, never an error: a plan with less is better than none."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import psutil

from qwq_local.machine import cgroup, nvidia
from qwq_local.machine.bandwidth import TYPICAL_RAM_BANDWIDTH, apple_bandwidth, card_bandwidth, typical_vram_bandwidth
from qwq_local.machine.device import DeviceMemory
from qwq_local.machine.machine import METAL, Gpu, Machine, helpful
from qwq_local.quants import F32

Answer = TypeVar("Answer")


def usable_cpus() -> int:
    """Threads this process may run at once: a core may run two."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, cgroup.cpu_quota() or allowed))


def usable_cores() -> int:
    """Physical cores this process may keep busy; llama.cpp is slower with two threads on one core."""
    return min(usable_cpus(), psutil.cpu_count(logical=False) or usable_cpus())


def installed_ram_bytes() -> int:
    """Bytes of RAM, whoever may use them."""
    return int(psutil.virtual_memory().total)


def ram_bytes() -> tuple[int, int]:
    """Total and available bytes of RAM, as far as this process may use them. Raises OSError where the system does not tell."""
    found = psutil.virtual_memory()
    limit = cgroup.memory_limit()
    if limit is None:
        return found.total, found.available
    return min(found.total, limit.limit_bytes), min(found.available, limit.available_bytes)


def disk_free_bytes(folder: Path) -> int:
    """Free bytes where `folder` is or would be made. Raises OSError."""
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    return shutil.disk_usage(existing).free


def mount_points() -> list[Path]:
    """Where disks are to be found."""
    return [Path(partition.mountpoint) for partition in psutil.disk_partitions()]


def cpu_name() -> str:
    """What the processor calls itself; empty where nobody knows."""
    if platform.system() == "Darwin":
        return _sysctl("machdep.cpu.brand_string")
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())


def find_machine(
    devices: Sequence[DeviceMemory], cpu_rates: Mapping[str, float], models_folder: Path, *, cpu: str, cards: nvidia.Report
) -> Machine:
    """This machine, from the devices as llama.cpp sees them and the CPU's rates as measured, that of F32 being the RAM's.

    `cpu` is `cpu_name()`, and `cards` what NVIDIA's driver said.
    """
    notes: list[str] = []
    total_bytes, available_bytes = _noted(notes, "the RAM", ram_bytes, (0, 0))
    gpus = find_gpus(devices, cards, cpu)
    useful = helpful(gpus)
    notes.extend(cards.notes)
    notes.extend(f"{gpu.name} ({gpu.description}) is left out: it has too little free memory." for gpu in gpus if gpu not in useful)
    if cards.cards and not gpus:
        notes.append(f"llama.cpp does not see the {cards.cards[0].name}: it was built without CUDA. qwq doctor says how to mend that.")
    return Machine(
        gpus=useful,
        ram_total_bytes=total_bytes,
        ram_available_bytes=available_bytes,
        ram_bandwidth=cpu_rates.get(F32.name, TYPICAL_RAM_BANDWIDTH),
        cpu_rates=cpu_rates,
        cores=usable_cores(),
        disk_free_bytes=_noted(notes, "the free disk", lambda: disk_free_bytes(models_folder), None),
        notes=tuple(notes),
    )


def find_gpus(devices: Sequence[DeviceMemory], cards: nvidia.Report, cpu: str) -> tuple[Gpu, ...]:
    """The devices that layers can be put on. As in llama.cpp, integrated GPUs count only where there is no other."""
    wanted = [device for device in devices if device.kind == "gpu"] or [device for device in devices if device.kind == "igpu"]
    return tuple(
        Gpu(
            name=device.name,
            description=device.description,
            total_bytes=device.total_bytes,
            free_bytes=device.free_bytes,
            bandwidth=_gpu_bandwidth(device, cards, cpu),
            shares_ram=device.kind == "igpu" or device.name.startswith(METAL),
        )
        for device in wanted
    )


def _gpu_bandwidth(device: DeviceMemory, cards: nvidia.Report, cpu: str) -> float:
    if device.name.startswith(METAL):
        known = apple_bandwidth(cpu, psutil.cpu_count(logical=False) or 0)
    else:
        known = next((card.bandwidth for card in cards.cards if card.name == device.description and card.bandwidth), None)
    typical = TYPICAL_RAM_BANDWIDTH if device.kind == "igpu" else typical_vram_bandwidth(device.total_bytes)[0]
    return known or card_bandwidth(device.description) or typical


def _sysctl(name: str) -> str:
    try:
        asked = subprocess.run(["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, check=False, timeout=2)  # noqa: S603 - a fixed one
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return asked.stdout.strip()


def _noted(notes: list[str], what: str, query: Callable[[], Answer], default: Answer) -> Answer:
    try:
        return query()
    except (OSError, RuntimeError, psutil.Error) as error:
        notes.append(f"{what[0].upper()}{what[1:]} cannot be told: {error}.")
        return default
