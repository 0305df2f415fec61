"""What can be wrong on a machine, and the command that mends it (pure: the facts come in as data).

Compiling llama-cpp-python without a word about the GPU gives a build for the CPU, which then runs on a GPU machine without complaint.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from qwq_local.builds import DROPPED_BELOW, X86
from qwq_local.doctor.condition import Facts
from qwq_local.doctor.remedy import Choice, Found, compiled, exchange, suiting, suiting_that_loads
from qwq_local.machine.processes import Process

SMALLEST_BYTES: Final = 12_800_000_000
"""QwQ-32B at IQ3_XXS, the smallest file that is worth having."""
RUN_BYTES: Final = SMALLEST_BYTES + 2 * 2**30
"""That with a context of some thousand tokens and what computing takes."""
HELD_BYTES: Final = 2**30
"""What another program must hold of a GPU's memory to be worth naming."""
ENOUGH_FILES: Final = 1024
_WHAT_NEEDS_A_CPU_TO_HAVE: Final = ("AVX", "AVX2", "FMA", "F16C", "BMI2", "AVX512")
_SPEEDS_UP: Final = ("AVX", "AVX2", "FMA", "F16C")


@dataclass(frozen=True)
class Trouble:
    """Something wrong, and the command that mends it; `can_run` where `--fix` can run it, and no shell of the user's is needed.

    `choice` is the build of llama.cpp that mends it: `--fix` exchanges it with more care than the command would.
    """

    check: str
    finding: str
    command: str
    can_run: bool = field(default=True)
    choice: Choice | None = None


Check: TypeAlias = Callable[[Facts], Iterator[Found]]


def diagnose(facts: Facts) -> dict[str, list[Trouble]]:
    """The troubles that each check found, by the check's name; an empty list where all is well."""
    return {name: [Trouble(name, *found) for found in check(facts)] for name, check in CHECKS.items()}


def _exchange(facts: Facts) -> Iterator[Found]:
    """An exchange of llama.cpp that was broken off, by a loss of power or a kill."""
    if facts.unfinished:
        build, has_begun = facts.unfinished.build, facts.unfinished.has_begun
        told = "its files are half exchanged" if has_begun else "a half-fetched build lies beside the one that is used"
        yield f"An exchange of llama.cpp for {build} was broken off: {told}.", "qwq doctor --fix", False


def _load(facts: Facts) -> Iterator[Found]:
    """A build that does not load: for another CPU, or without the libraries it was linked against."""
    failure = facts.build.failure
    if not failure:
        return
    if "illegal instruction" in failure.casefold():
        yield exchange(facts, compiled(facts), f"llama.cpp was built for another CPU and crashes on this one ({failure}).")
    else:
        yield exchange(facts, suiting_that_loads(facts), f"llama.cpp does not load: {failure}")


def _gpu(facts: Facts) -> Iterator[Found]:
    """A GPU that lies idle."""
    if facts.build.failure or facts.build.offloads or not facts.gpus:
        return
    gpu = facts.gpus[0]
    if gpu.vendor == "Apple" and facts.system.machine != "arm64":
        yield (
            f"This Python is for Intel and cannot use Metal on {gpu.name}.",
            "/opt/homebrew/bin/brew install pipx && /opt/homebrew/bin/pipx install qwq-local",
            False,
        )
        return
    what = {"Apple": "Metal is off", "NVIDIA": "llama.cpp was built without CUDA", "AMD": "llama.cpp was built without ROCm or Vulkan"}
    yield exchange(facts, suiting(facts), f"{what[gpu.vendor]}: {gpu.name} lies idle.")


def _driver(facts: Facts) -> Iterator[Found]:
    """A build for a newer CUDA than the driver runs, or than the GPUs still have kernels of."""
    needed, driver = facts.build.cuda, facts.system.driver_cuda
    if needed is None:
        return
    least = DROPPED_BELOW.get(needed, (0, 0))
    dropped = dict.fromkeys(gpu.name for gpu in facts.gpus if gpu.capability and gpu.capability < least)
    if driver is not None and needed > driver[0]:
        yield exchange(facts, suiting(facts), f"llama.cpp was built for CUDA {needed}, and the driver runs up to {driver[0]}.{driver[1]}.")
    elif dropped:
        yield exchange(facts, suiting(facts), f"llama.cpp was built for CUDA {needed}, which has no kernels for {' and '.join(dropped)}.")


def _vram(facts: Facts) -> Iterator[Found]:
    """Other programs in a GPU's memory."""
    for gpu in facts.gpus:
        holders = [process for process in gpu.holders if process.held_bytes >= HELD_BYTES]
        if holders:
            named = ", ".join(f"{process.name or 'a program'} ({process.held_bytes / 2**30:.1f} GiB)" for process in holders)
            yield f"Other programs hold memory of {gpu.name}: {named}.", _kill(facts, holders), True


def _ram(facts: Facts) -> Iterator[Found]:
    """Too little memory for the smallest file, GPUs and RAM together."""
    system = facts.system
    vram_bytes = 0 if any(gpu.vendor == "Apple" for gpu in facts.gpus) else sum(gpu.total_bytes for gpu in facts.gpus)
    allowed_bytes = min(system.ram_total_bytes, system.ram_limit_bytes or system.ram_total_bytes)
    if allowed_bytes + vram_bytes < RUN_BYTES:
        told = f"{(allowed_bytes + vram_bytes) / 2**30:.1f} GiB of memory are fewer than the {RUN_BYTES / 2**30:.1f} that QwQ-32B needs"
        if system.ram_total_bytes + vram_bytes >= RUN_BYTES:
            yield f"{told}: the container is limited.", 'docker update --memory 24g --memory-swap 24g "$CONTAINER"', False
        else:
            yield f"{told}; the built-in model runs.", 'qwq ask -m demo "What is 47 + 85?"', False
    elif system.ram_available_bytes + vram_bytes < RUN_BYTES and system.largest:
        told = f"Only {system.ram_available_bytes / 2**30:.1f} GiB of RAM are free"
        yield f"{told}; {system.largest.name or '?'} holds {system.largest.held_bytes / 2**30:.1f}.", _kill(facts, [system.largest]), True


def _disk(facts: Facts) -> Iterator[Found]:
    """A folder that no model can be pulled into."""
    store = facts.store
    if not store.is_writable:
        command = (
            f'icacls "{store.folder}" /grant "%USERNAME%:(OI)(CI)F"'
            if facts.system.os == "Windows"
            else f'sudo mkdir -p {_q(store.folder)} && sudo chown -R "$USER" {_q(store.folder)}'
        )
        yield f"The folder of models cannot be written: {store.folder}.", command, True
    if store.has_model or store.free_bytes >= SMALLEST_BYTES:
        return
    told = f"{store.free_bytes / 1e9:.1f} GB are free where models go, and the smallest takes {SMALLEST_BYTES / 1e9:.1f}"
    if store.roomier:
        place, free_bytes = store.roomier
        command = f'setx QWQ_MODELS "{place}"' if facts.system.os == "Windows" else f"export QWQ_MODELS={_q(place)}"
        yield f"{told}; {place} has {free_bytes / 1e9:.0f} GB.", command, facts.system.os == "Windows"
    else:
        yield f"{told}.", 'dir /s "%USERPROFILE%"' if facts.system.os == "Windows" else "du -xh ~ | sort -rh | head -20", False


def _files(facts: Facts) -> Iterator[Found]:
    """Too few files that one process may have open, where each connection of `qwq serve` is one."""
    if facts.system.files_limit is None:
        return
    soft, hard = facts.system.files_limit
    if soft < ENOUGH_FILES:
        wanted = 4 * ENOUGH_FILES
        is_mac = facts.system.os == "Darwin"
        harder = f"sudo launchctl limit maxfiles {wanted} {wanted}" if is_mac else f"sudo prlimit --nofile={wanted} --pid $$"
        command = f"ulimit -n {wanted}" if hard >= wanted else harder
        yield f"A process may open {soft} files, which many connections use up.", command, False


def _cpu(facts: Facts) -> Iterator[Found]:
    """A build that asks of the CPU what it lacks, or leaves unused what it has where that has much to compute."""
    if facts.build.failure or facts.system.machine.casefold() not in X86 or not facts.system.cpu_features:
        return
    is_all_on_gpus = facts.build.offloads and sum(gpu.total_bytes for gpu in facts.gpus) >= RUN_BYTES
    if lacking := [name for name in _WHAT_NEEDS_A_CPU_TO_HAVE if name in facts.build.features - facts.system.cpu_features]:
        told = f"llama.cpp was built for a CPU with {', '.join(lacking)}, which this one lacks: it will crash."
        yield exchange(facts, compiled(facts), told)
    elif not is_all_on_gpus and (unused := [name for name in _SPEEDS_UP if name in facts.system.cpu_features - facts.build.features]):
        told = f"llama.cpp was built without {', '.join(unused)}, which this CPU has: it is several times slower."
        yield exchange(facts, compiled(facts), told)


def _model_files(facts: Facts) -> Iterator[Found]:
    """Model files that are damaged."""
    for file in facts.store.bad_files:
        yield f"{file.name}: {file.problem}", file.command, True


CHECKS: Final[Mapping[str, Check]] = {
    "exchange": _exchange,
    "llama.cpp": _load,
    "gpu": _gpu,
    "driver": _driver,
    "vram": _vram,
    "ram": _ram,
    "disk": _disk,
    "files": _files,
    "cpu": _cpu,
    "models": _model_files,
}


def _kill(facts: Facts, processes: list[Process]) -> str:
    if facts.system.os == "Windows":
        return "taskkill " + " ".join(f"/PID {process.pid}" for process in processes)
    return "kill " + " ".join(str(process.pid) for process in processes)


def _q(text: str) -> str:
    return shlex.quote(text)
