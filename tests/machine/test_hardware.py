from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from qwq_local.machine import cgroup, hardware, nvidia
from qwq_local.machine.bandwidth import TYPICAL_RAM_BANDWIDTH
from qwq_local.machine.device import DeviceMemory
from qwq_local.machine.machine import GIB

CARD = nvidia.Card("NVIDIA GeForce RTX 3090", 24 * GIB, 936e9)


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    return root


def test_a_container_limits_memory_less_what_it_cannot_drop(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/",
            "sys/fs/cgroup/memory.max": str(8 * GIB),
            "sys/fs/cgroup/memory.current": str(5 * GIB),
            "sys/fs/cgroup/memory.stat": f"anon 1\ninactive_file {3 * GIB}",
        },
    )
    assert cgroup.memory_limit(root) == (8 * GIB, 6 * GIB)


def test_the_tightest_of_the_groups_above_counts(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/user/app",
            "sys/fs/cgroup/user/app/memory.max": "max",
            "sys/fs/cgroup/user/app/memory.current": "1000",
            "sys/fs/cgroup/user/memory.max": "9000",
            "sys/fs/cgroup/user/memory.current": "2000",
            "sys/fs/cgroup/memory.max": "50000",
            "sys/fs/cgroup/memory.current": "2000",
            "sys/fs/cgroup/user/cpu.max": "150000 100000",
            "sys/fs/cgroup/user/app/cpu.max": "max 100000",
        },
    )
    assert cgroup.memory_limit(root) == (9000, 7000)
    assert cgroup.cpu_quota(root) == 2


def test_version_1_of_control_groups_is_read_too(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/docker/x\n1:cpu,cpuacct:/docker/x\n0::/",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "8000",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "9000",
            "sys/fs/cgroup/memory/memory.stat": "total_inactive_file 500",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
        },
    )
    assert cgroup.memory_limit(root) == (8000, 0)
    assert cgroup.cpu_quota(root) == 1


@pytest.mark.parametrize("text", ["", "max", "-1", "9223372036854771712", "many", "\x00", "1 2 3"])
def test_a_group_that_says_no_number_limits_nothing(tmp_path: Path, text: str) -> None:
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/\n1:cpu:/\n0::/\nrubbish",
            "sys/fs/cgroup/memory.max": text,
            "sys/fs/cgroup/memory.current": text,
            "sys/fs/cgroup/memory/memory.limit_in_bytes": text,
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "5",
            "sys/fs/cgroup/cpu.max": text,
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": text,
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "0",
        },
    )
    assert cgroup.memory_limit(root) is None
    assert cgroup.cpu_quota(root) is None


def test_without_control_groups_nothing_is_limited(tmp_path: Path) -> None:
    assert cgroup.memory_limit(tmp_path) is None
    assert cgroup.cpu_quota(tmp_path) is None


def test_ram_is_what_the_group_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=64, available=50))
    monkeypatch.setattr(cgroup, "memory_limit", lambda: cgroup.MemoryLimit(16, 60))
    assert hardware.ram_bytes() == (16, 50)
    monkeypatch.setattr(cgroup, "memory_limit", lambda: None)
    assert hardware.ram_bytes() == (64, 50)


def test_cores_are_what_affinity_quota_and_the_processor_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)), raising=False)
    for physical, quota, expected in ((8, None, 8), (None, None, 16), (8, 3, 3), (32, 40, 16)):
        monkeypatch.setattr(psutil, "cpu_count", lambda logical, n=physical: n)  # noqa: ARG005
        monkeypatch.setattr(cgroup, "cpu_quota", lambda n=quota: n)
        assert hardware.usable_cores() == expected


def test_free_disk_is_told_for_folders_that_are_not_there_yet(tmp_path: Path) -> None:
    assert hardware.disk_free_bytes(tmp_path / "a" / "b") > 0


def test_this_machine_is_found(tmp_path: Path) -> None:
    machine = hardware.find_machine([], {"F32": 2e10, "Q4_K": 1e10}, tmp_path, cpu="", cards=nvidia.Report())
    assert machine.ram_total_bytes >= machine.ram_available_bytes > 0
    assert machine.ram_bandwidth == 2e10
    assert machine.cpu_rates["Q4_K"] == 1e10
    assert machine.cores is not None
    assert machine.notes == ()


def test_queries_that_fail_become_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Any:
        raise OSError("forbidden")

    monkeypatch.setattr(psutil, "virtual_memory", fail)
    monkeypatch.setattr("shutil.disk_usage", fail)
    machine = hardware.find_machine([], {}, tmp_path, cpu="", cards=nvidia.Report())
    assert machine.ram_available_bytes == machine.ram_total_bytes == 0
    assert machine.disk_free_bytes is None
    assert machine.ram_bandwidth == TYPICAL_RAM_BANDWIDTH
    assert machine.notes == ("The RAM cannot be told: forbidden.", "The free disk cannot be told: forbidden.")


def test_gpus_are_llama_cpps_with_the_bandwidth_that_the_driver_tells() -> None:
    devices = [
        DeviceMemory("CPU", "a processor", "cpu", 64 * GIB, 60 * GIB),
        DeviceMemory("CUDA0", CARD.name, "gpu", 24 * GIB, 22 * GIB),
        DeviceMemory("Vulkan0", "AMD Radeon RX 7900 XTX", "gpu", 24 * GIB, 24 * GIB),
        DeviceMemory("Vulkan1", "nobody knows it", "gpu", 12 * GIB, 12 * GIB),
        DeviceMemory("Vulkan2", "integrated", "igpu", 30 * GIB, 30 * GIB),
        DeviceMemory("BLAS", "helps the processor", "accel", 0, 0),
    ]
    gpus = hardware.find_gpus(devices, nvidia.Report((CARD,)), "")
    assert [(gpu.name, gpu.free_bytes, gpu.bandwidth, gpu.shares_ram) for gpu in gpus] == [
        ("CUDA0", 22 * GIB, 936e9, False),
        ("Vulkan0", 24 * GIB, 960e9, False),
        ("Vulkan1", 12 * GIB, 504e9, False),
    ]


def test_an_integrated_gpu_counts_where_there_is_no_other_and_shares_the_ram() -> None:
    (gpu,) = hardware.find_gpus([DeviceMemory("Vulkan0", "integrated", "igpu", 30 * GIB, 30 * GIB)], nvidia.Report(), "")
    assert gpu.shares_ram
    assert gpu.bandwidth == TYPICAL_RAM_BANDWIDTH


def test_apples_gpu_shares_the_ram_and_is_as_fast_as_its_chip() -> None:
    (gpu,) = hardware.find_gpus([DeviceMemory("MTL0", "Apple M4 Pro", "gpu", 36 * GIB, 36 * GIB)], nvidia.Report(), "Apple M4 Pro")
    assert gpu.shares_ram
    assert gpu.is_metal
    assert gpu.bandwidth == 273e9


def test_a_card_that_llama_cpp_does_not_see_is_noted(tmp_path: Path) -> None:
    machine = hardware.find_machine([], {}, tmp_path, cpu="", cards=nvidia.Report((CARD,), ("Process 7 holds 2.0 GiB.",)))
    assert machine.gpus == ()
    assert machine.notes[0] == "Process 7 holds 2.0 GiB."
    assert "without CUDA" in machine.notes[1]


def test_a_gpu_without_free_memory_is_left_out_with_a_note(tmp_path: Path) -> None:
    full = DeviceMemory("CUDA0", CARD.name, "gpu", 24 * GIB, GIB)
    machine = hardware.find_machine([full], {}, tmp_path, cpu="", cards=nvidia.Report((CARD,)))
    assert machine.gpus == ()
    assert machine.notes == ("CUDA0 (NVIDIA GeForce RTX 3090) is left out: it has too little free memory.",)


@pytest.mark.parametrize("failure", [FileNotFoundError("sysctl"), subprocess.TimeoutExpired("sysctl", 2)])
def test_a_mac_that_does_not_say_its_chip_is_no_error(monkeypatch: pytest.MonkeyPatch, failure: Exception) -> None:
    def fail(*_: object, **__: object) -> Any:
        raise failure

    monkeypatch.setattr("platform.system", lambda: "Darwin")
    monkeypatch.setattr("subprocess.run", fail)
    assert hardware.cpu_name() == ""
    monkeypatch.setattr("subprocess.run", lambda *_, **__: SimpleNamespace(stdout="Apple M3 Ultra\n"))
    assert hardware.cpu_name() == "Apple M3 Ultra"


class NvmlError(Exception):
    pass


class LibraryMissingError(NvmlError):
    pass


class Nvml:
    """What stands for pynvml: one RTX 3090, and failures on demand."""

    NVMLError = NvmlError
    NVMLError_LibraryNotFound = NVMLError_DriverNotLoaded = LibraryMissingError
    NVML_CLOCK_MEM = 2

    def __init__(self, *, init: Exception | None = None, fails: tuple[str, ...] = ()) -> None:
        self.init, self.fails, self.closed = init, fails, False

    def nvmlInit(self) -> None:  # noqa: N802
        if self.init:
            raise self.init

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.closed = True

    def __getattr__(self, name: str) -> Any:
        processes = [SimpleNamespace(pid=4_000_000, usedGpuMemory=3 * GIB), SimpleNamespace(pid=4_000_001, usedGpuMemory=None)]
        answers = {
            "nvmlDeviceGetCount": 1,
            "nvmlDeviceGetHandleByIndex": "handle",
            "nvmlDeviceGetName": b"NVIDIA GeForce RTX 3090",
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=24 * GIB, free=21 * GIB),
            "nvmlDeviceGetMaxClockInfo": 9751,
            "nvmlDeviceGetMemoryBusWidth": 384,
            "nvmlDeviceGetCudaComputeCapability": (8, 6),
            "nvmlDeviceGetComputeRunningProcesses": processes,
            "nvmlDeviceGetGraphicsRunningProcesses": [],
            "nvmlSystemGetCudaDriverVersion_v2": 12_040,
        }

        def answer(*_: object) -> Any:
            if name in self.fails:
                raise NvmlError("not supported")
            return answers[name]

        return answer


def test_nvml_tells_bandwidth_capability_cuda_and_who_holds_the_memory() -> None:
    nvml = Nvml()
    report = nvidia.ask_through(nvml)
    assert report.cuda == (12, 4)
    assert report.cards[0].bandwidth == pytest.approx(936e9, rel=0.001)
    assert report.cards[0].capability == (8, 6)
    assert [(process.pid, process.held_bytes) for process in report.cards[0].holders] == [(4_000_000, 3 * GIB), (4_000_001, 0)]
    assert report.notes == ("Process 4000000 holds 3.0 GiB of the NVIDIA GeForce RTX 3090's memory.",)
    assert nvml.closed


def test_a_machine_without_nvidias_driver_is_nothing_special() -> None:
    assert nvidia.ask_through(Nvml(init=LibraryMissingError("no library"))) == nvidia.Report()


def test_errors_of_nvml_become_notes() -> None:
    assert nvidia.ask_through(Nvml(init=NvmlError("version mismatch"))).notes == ("NVIDIA's driver does not answer: version mismatch.",)
    broken = nvidia.ask_through(Nvml(fails=("nvmlDeviceGetCount",)))
    assert broken == nvidia.Report(notes=("NVIDIA's driver answers with an error: not supported.",))


def test_a_driver_too_old_to_tell_its_cuda_is_believed_otherwise() -> None:
    report = nvidia.ask_through(Nvml(fails=("nvmlSystemGetCudaDriverVersion_v2",)))
    assert report.cuda is None
    assert len(report.cards) == 1


@pytest.mark.parametrize("query", ["nvmlDeviceGetMaxClockInfo", "nvmlDeviceGetMemoryBusWidth"])
def test_a_card_that_does_not_tell_its_clock_has_no_bandwidth(query: str) -> None:
    assert nvidia.ask_through(Nvml(fails=(query,))).cards[0].bandwidth is None


def test_a_driver_that_does_not_tell_the_compute_capability_is_believed_otherwise() -> None:
    [card] = nvidia.ask_through(Nvml(fails=("nvmlDeviceGetCudaComputeCapability",))).cards
    assert (card.capability, card.name) == (None, "NVIDIA GeForce RTX 3090")


def test_a_driver_that_does_not_tell_processes_is_believed_otherwise() -> None:
    report = nvidia.ask_through(Nvml(fails=("nvmlDeviceGetGraphicsRunningProcesses",)))
    assert report.notes == ()
    assert len(report.cards) == 1


def test_the_real_library_names_each_card_or_tells_nothing_and_never_raises() -> None:
    report = nvidia.ask()
    assert all(card.name for card in report.cards)
