"""What NVIDIA's driver tells of its cards, through NVML: bandwidth, driver, and who else holds their memory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Final

import psutil

from qwq_local.machine.bandwidth import nvidia_bandwidth

WORTH_NAMING_BYTES: Final = 256 * 2**20
"""What another process must hold of a card's memory to be worth a note."""


@dataclass(frozen=True)
class Card:
    """One card; `bandwidth` in bytes a second, None where the driver does not tell."""

    name: str
    total_bytes: int
    free_bytes: int
    bandwidth: float | None


@dataclass(frozen=True)
class Report:
    """What the driver said; `driver` is its version, and empty without one."""

    driver: str = ""
    cards: tuple[Card, ...] = ()
    notes: tuple[str, ...] = ()


def ask() -> Report:
    """Ask the driver; without one the report is empty. An error of NVML becomes a note."""
    import pynvml

    return ask_through(pynvml)


def ask_through(nvml: Any) -> Report:  # noqa: ANN401 - a module that ships no types
    """The same through this module, pynvml or what stands for it."""
    try:
        nvml.nvmlInit()
    except (nvml.NVMLError_LibraryNotFound, nvml.NVMLError_DriverNotLoaded):
        return Report()
    except nvml.NVMLError as error:
        return Report(notes=(f"NVIDIA's driver does not answer: {error}.",))
    try:
        return _report(nvml)
    except nvml.NVMLError as error:
        return Report(notes=(f"NVIDIA's driver answers with an error: {error}.",))
    finally:
        nvml.nvmlShutdown()


def _report(nvml: Any) -> Report:  # noqa: ANN401 - as above
    cards: list[Card] = []
    notes: list[str] = []
    for index in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        card = Card(_text(nvml.nvmlDeviceGetName(handle)), memory.total, memory.free, _bandwidth(nvml, handle))
        cards.append(card)
        notes.extend(f"{who} of the {card.name}'s memory." for who in _others(nvml, handle))
    return Report(_text(nvml.nvmlSystemGetDriverVersion()), tuple(cards), tuple(notes))


def _bandwidth(nvml: Any, handle: object) -> float | None:  # noqa: ANN401 - as above
    """None for cards, and parts of cards, whose memory clock or bus the driver does not tell."""
    try:
        clock_mhz = nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_MEM)
        bus_bits = nvml.nvmlDeviceGetMemoryBusWidth(handle)
    except nvml.NVMLError:
        return None
    return nvidia_bandwidth(clock_mhz * 1e6, bus_bits) or None


def _others(nvml: Any, handle: object) -> list[str]:  # noqa: ANN401 - as above
    """Other processes that hold much of a card's memory; empty where the driver does not tell, as on Windows and in containers."""
    try:
        found = [*nvml.nvmlDeviceGetComputeRunningProcesses(handle), *nvml.nvmlDeviceGetGraphicsRunningProcesses(handle)]
    except nvml.NVMLError:
        return []
    held = {process.pid: process.usedGpuMemory or 0 for process in found if process.pid != os.getpid()}
    return [
        f"Process {pid}{_process_name(pid)} holds {held_bytes / 2**30:.1f} GiB"
        for pid, held_bytes in held.items()
        if held_bytes >= WORTH_NAMING_BYTES
    ]


def _process_name(pid: int) -> str:
    try:
        return f" ({psutil.Process(pid).name()})"
    except psutil.Error:
        return ""


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
