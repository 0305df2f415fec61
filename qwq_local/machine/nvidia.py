"""What NVIDIA's driver tells through NVML: its cards with their bandwidth, who else holds their memory, and the CUDA that it runs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Final

from qwq_local.machine.bandwidth import nvidia_bandwidth
from qwq_local.machine.processes import Process, process_name

WORTH_NAMING_BYTES: Final = 256 * 2**20
"""What another process must hold of a card's memory to be worth a note."""


@dataclass(frozen=True)
class Card:
    """One card: `bandwidth` in bytes a second, the other programs in its memory, and its compute capability, CUDA's name for a generation.

    Bandwidth and capability are None where the driver does not tell.
    """

    name: str
    total_bytes: int
    bandwidth: float | None
    holders: tuple[Process, ...] = ()
    capability: tuple[int, int] | None = None


@dataclass(frozen=True)
class Report:
    """What the driver said; `cuda` is the newest version that it runs, None where it does not tell."""

    cards: tuple[Card, ...] = ()
    notes: tuple[str, ...] = ()
    cuda: tuple[int, int] | None = None


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
    cards = tuple(_card(nvml, nvml.nvmlDeviceGetHandleByIndex(index)) for index in range(nvml.nvmlDeviceGetCount()))
    notes = (_note(holder, card) for card in cards for holder in card.holders if holder.held_bytes >= WORTH_NAMING_BYTES)
    return Report(cards, tuple(notes), _cuda(nvml))


def _card(nvml: Any, handle: object) -> Card:  # noqa: ANN401 - as above
    name, total_bytes = _text(nvml.nvmlDeviceGetName(handle)), nvml.nvmlDeviceGetMemoryInfo(handle).total
    return Card(name, total_bytes, _bandwidth(nvml, handle), _holders(nvml, handle), _capability(nvml, handle))


def _note(holder: Process, card: Card) -> str:
    name = f" ({holder.name})" if holder.name else ""
    return f"Process {holder.pid}{name} holds {holder.held_bytes / 2**30:.1f} GiB of the {card.name}'s memory."


def _bandwidth(nvml: Any, handle: object) -> float | None:  # noqa: ANN401 - as above
    """None for cards, and parts of cards, whose memory clock or bus the driver does not tell."""
    try:
        clock_mhz = nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_MEM)
        bus_bits = nvml.nvmlDeviceGetMemoryBusWidth(handle)
    except nvml.NVMLError:
        return None
    return nvidia_bandwidth(clock_mhz * 1e6, bus_bits) or None


def _capability(nvml: Any, handle: object) -> tuple[int, int] | None:  # noqa: ANN401 - as above
    try:
        major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    except nvml.NVMLError:
        return None
    return major, minor


def _holders(nvml: Any, handle: object) -> tuple[Process, ...]:  # noqa: ANN401 - as above
    """Other programs in a card's memory; empty where the driver does not tell, as on Windows and in containers."""
    try:
        found = [*nvml.nvmlDeviceGetComputeRunningProcesses(handle), *nvml.nvmlDeviceGetGraphicsRunningProcesses(handle)]
    except nvml.NVMLError:
        return ()
    held = {process.pid: process.usedGpuMemory or 0 for process in found if process.pid != os.getpid()}
    return tuple(Process(pid, process_name(pid), held_bytes) for pid, held_bytes in held.items())


def _cuda(nvml: Any) -> tuple[int, int] | None:  # noqa: ANN401 - as above
    try:
        number = nvml.nvmlSystemGetCudaDriverVersion_v2()
    except nvml.NVMLError:
        return None
    return number // 1000, number % 1000 // 10


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
