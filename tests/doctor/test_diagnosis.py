"""Every fault that doctor knows, simulated: it is found, alone, and its command is the right one."""

from __future__ import annotations

import json
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from qwq_local.builds import REQUIREMENT
from qwq_local.doctor import facts
from qwq_local.doctor.condition import BadFile, Build, Facts, Gpu, Packager, Store, System, Unfinished
from qwq_local.doctor.diagnosis import CHECKS, diagnose
from qwq_local.doctor.mending import mending
from qwq_local.doctor.remedy import _VISUAL_CPP
from qwq_local.llama._build import cuda_of, describe_build
from qwq_local.machine.processes import Process
from qwq_local.models.inventory import LocalModel

GIB = 2**30
CPU = frozenset({"AVX", "AVX2", "FMA", "F16C", "BMI2"})
FEATURES = CPU | {"SSE3", "OPENMP"}
PIP = "/venv/bin/python -m pip install --force-reinstall --no-deps"
NAME = '"llama-cpp-python>=0.3.36"'
INDEX = "https://abetlen.github.io/llama-cpp-python/whl"
RTX = Gpu("NVIDIA", "NVIDIA GeForce RTX 3090", 24 * GIB)
RTX_4070 = Gpu("NVIDIA", "NVIDIA GeForce RTX 4070", 12 * GIB)
GTX = Gpu("NVIDIA", "NVIDIA GeForce GTX 1080", 8 * GIB, capability=(6, 1))
RADEON = Gpu("AMD", "AMD GPU 0", 16 * GIB)
M4 = Gpu("Apple", "Apple M4 Max", 64 * GIB)
SYSTEM = System(
    os="Linux", machine="x86_64", python="/venv/bin/python", ram_total_bytes=64 * GIB, ram_available_bytes=50 * GIB,
    cpu_features=CPU, files_limit=(1024, 2**20), driver_cuda=(12, 4),
)  # fmt: skip
STORE = Store("/home/u/models", 200 * 10**9)
MAC = replace(SYSTEM, os="Darwin", machine="arm64", cpu_features=frozenset(), driver_cuda=None)
WINDOWS = replace(SYSTEM, os="Windows", python=r"C:\py\python.exe", files_limit=None)
HEALTHY = Facts(SYSTEM, Build(offloads=True, features=FEATURES, cuda=12), STORE, (RTX,))
CPU_BUILD = Build(features=FEATURES)
NO_GPU = replace(HEALTHY, gpus=(), build=CPU_BUILD)
CROWDED = replace(RTX, holders=(Process(7, "game", 9 * GIB), Process(8, "Xorg", 10**8), Process(9, "ollama", 2 * GIB)))
COMPILE = f"{PIP} --no-cache-dir --no-binary llama-cpp-python {NAME}"
WINDOWS_PIP = r'"C:\py\python.exe" -m pip install --force-reinstall --no-deps'
COMPILE_ON_WINDOWS = f'set "CMAKE_ARGS=-DGGML_NATIVE=on -DGGML_CUDA=on" && {WINDOWS_PIP} --no-cache-dir --no-binary llama-cpp-python {NAME}'


def on(facts: Facts, **system: object) -> Facts:
    return replace(facts, system=replace(facts.system, **system))  # type: ignore[arg-type]


def stored(facts: Facts, **store: object) -> Facts:
    return replace(facts, store=replace(facts.store, **store))  # type: ignore[arg-type]


FAULTS: dict[str, tuple[Facts, str, str, str]] = {
    "a GPU and a llama.cpp without CUDA": (
        replace(HEALTHY, build=CPU_BUILD), "gpu", "built without CUDA", f"{PIP} --index-url {INDEX}/cu124 {NAME}",
    ),
    "the same under an old driver": (
        on(replace(HEALTHY, build=CPU_BUILD), driver_cuda=(11, 8)), "gpu", "lies idle", f"{PIP} --index-url {INDEX}/cu118 {NAME}",
    ),
    "the same under a driver newer than all builds": (
        on(replace(HEALTHY, build=CPU_BUILD), driver_cuda=(13, 9)), "gpu", "lies idle", f"{PIP} --index-url {INDEX}/cu132 {NAME}",
    ),
    "the same on Windows, which has fewer builds": (
        Facts(replace(WINDOWS, driver_cuda=(12, 3)), CPU_BUILD, STORE, (RTX,)), "gpu", "lies idle",
        f"{WINDOWS_PIP} --index-url {INDEX}/cu118 {NAME}",
    ),
    "the same on a processor that has none": (
        Facts(replace(SYSTEM, machine="aarch64", cpu_features=frozenset()), Build(), STORE, (RTX,)), "gpu", "lies idle",
        f"CMAKE_ARGS='-DGGML_NATIVE=on -DGGML_CUDA=on' {COMPILE}",
    ),
    "the same under a driver older than all builds": (
        on(replace(HEALTHY, build=CPU_BUILD), driver_cuda=(10, 2)), "gpu", "lies idle",
        f"{PIP} --index-url {INDEX}/vulkan {NAME}",
    ),
    "an AMD GPU that lies idle": (
        on(replace(HEALTHY, build=CPU_BUILD, gpus=(RADEON,)), driver_cuda=None), "gpu", "ROCm or Vulkan",
        f"{PIP} --index-url {INDEX}/vulkan {NAME}",
    ),
    "an AMD GPU with the ROCm that there is a build for": (
        on(replace(HEALTHY, build=CPU_BUILD, gpus=(RADEON,)), driver_cuda=None, rocm=(7, 4)), "gpu", "AMD GPU 0 lies idle",
        f"{PIP} --index-url {INDEX}/rocm72 {NAME}",
    ),
    "an AMD GPU with an older ROCm": (
        on(replace(HEALTHY, build=CPU_BUILD, gpus=(RADEON,)), driver_cuda=None, rocm=(6, 4)), "gpu", "AMD GPU 0 lies idle",
        f"{PIP} --index-url {INDEX}/vulkan {NAME}",
    ),
    "an exchange that was broken off": (
        replace(HEALTHY, unfinished=Unfinished("cu124", has_begun=True)), "exchange",
        "for cu124 was broken off: its files are half exchanged",
        "qwq doctor --fix",
    ),
    "a fetching that was broken off": (
        replace(HEALTHY, unfinished=Unfinished("cu124", has_begun=False)), "exchange", "half-fetched build", "qwq doctor --fix",
    ),
    "no compiler where one is needed": (
        on(replace(NO_GPU, build=Build(failure="Illegal instruction")), missing_tools=frozenset({"c++", "nvcc"}), installs_with="apt"),
        "llama.cpp", "needs a C++ compiler.", "sudo apt install build-essential",
    ),
    "neither compiler nor CUDA": (
        on(HEALTHY, cpu_features=frozenset({"AVX"}), missing_tools=frozenset({"c++", "nvcc", "glslc"}), installs_with="dnf"),
        "cpu", "needs a C++ compiler and NVIDIA's CUDA toolkit", "sudo dnf install gcc-c++ make cuda-toolkit",
    ),
    "no Vulkan SDK on Arch": (
        on(
            replace(NO_GPU, build=Build(failure="Illegal instruction"), gpus=(RADEON,)),
            missing_tools=frozenset({"glslc"}), installs_with="pacman",
        ),
        "llama.cpp", "needs the Vulkan SDK", "sudo pacman -S --needed vulkan-headers vulkan-icd-loader shaderc",
    ),
    "no compiler on a system that nobody knows": (
        on(replace(NO_GPU, build=Build(failure="Illegal instruction")), missing_tools=frozenset({"c++"})), "llama.cpp", "a C++ compiler",
        "install a C++ compiler with your system's packages",
    ),
    "no compiler on a Mac": (
        Facts(replace(MAC, missing_tools=frozenset({"c++"})), Build(failure="Illegal instruction: 4"), STORE, (M4,)),
        "llama.cpp", "a C++ compiler", "xcode-select --install",
    ),
    "no compiler on Windows": (
        Facts(replace(WINDOWS, missing_tools=frozenset({"c++"}), installs_with="winget"), replace(HEALTHY.build, features=frozenset()),
              STORE, (RTX_4070,)),
        "cpu", "a C++ compiler",
        'winget install Microsoft.VisualStudio.2022.BuildTools' + _VISUAL_CPP,
    ),
    "a GPU that lies idle where packages cannot be exchanged": (
        on(replace(HEALTHY, build=CPU_BUILD), packager=Packager(problem="There is no pip in /venv.", remedy="python -m ensurepip")), "gpu",
        "lies idle. There is no pip in /venv.", "python -m ensurepip",
    ),
    "a GPU that lies idle where uv exchanges packages": (
        on(replace(HEALTHY, build=CPU_BUILD), packager=Packager(("uv", "pip", "install", "--python", "/venv/bin/python"))), "gpu",
        "lies idle", f"uv pip install --python /venv/bin/python --force-reinstall --no-deps --index-url {INDEX}/cu124 {NAME}",
    ),
    "Metal off": (
        Facts(MAC, Build(), STORE, (M4,)), "gpu", "Metal is off: Apple M4 Max", f"{PIP} --index-url {INDEX}/metal {NAME}",
    ),
    "a Python for Intel on Apple's chip": (
        Facts(replace(MAC, machine="x86_64"), Build(), STORE, (M4,)), "gpu", "This Python is for Intel",
        "/opt/homebrew/bin/brew install pipx && /opt/homebrew/bin/pipx install qwq-local",
    ),
    "a build for a newer CUDA than the driver's": (
        on(HEALTHY, driver_cuda=(11, 8)), "driver", "built for CUDA 12, and the driver runs up to 11.8",
        f"{PIP} --index-url {INDEX}/cu118 {NAME}",
    ),
    "a build for a CUDA that has left the GPU behind": (
        on(replace(HEALTHY, build=replace(HEALTHY.build, cuda=13), gpus=(RTX, GTX, GTX)), driver_cuda=(13, 0)), "driver",
        "built for CUDA 13, which has no kernels for NVIDIA GeForce GTX 1080.", f"{PIP} --index-url {INDEX}/cu125 {NAME}",
    ),
    "a GPU that the newest CUDA has left behind, idle": (
        on(replace(HEALTHY, build=CPU_BUILD, gpus=(GTX,)), driver_cuda=(13, 0)), "gpu", "GTX 1080 lies idle",
        f"{PIP} --index-url {INDEX}/cu125 {NAME}",
    ),
    "a build whose CUDA libraries are missing": (
        replace(HEALTHY, build=Build(failure="OSError: libcudart.so.12: cannot open shared object file")), "llama.cpp", "libcudart.so.12",
        f"{PIP} --index-url {INDEX}/vulkan {NAME}",
    ),
    "a build that does not load": (
        replace(HEALTHY, build=Build(failure="No module named 'llama_cpp'")), "llama.cpp", "does not load: No module",
        f"{PIP} --index-url {INDEX}/cu124 {NAME}",
    ),
    "a build that crashes on this CPU": (
        replace(HEALTHY, build=Build(failure="Illegal instruction")), "llama.cpp", "built for another CPU",
        f"CMAKE_ARGS='-DGGML_NATIVE=on -DGGML_CUDA=on' {COMPILE}",
    ),
    "the same without a GPU": (
        replace(NO_GPU, build=Build(failure="Illegal instruction")), "llama.cpp", "built for another CPU",
        f"CMAKE_ARGS=-DGGML_NATIVE=on {COMPILE}",
    ),
    "the same with an AMD GPU": (
        replace(NO_GPU, build=Build(failure="Illegal instruction"), gpus=(RADEON,)), "llama.cpp", "built for another CPU",
        f"CMAKE_ARGS='-DGGML_NATIVE=on -DGGML_VULKAN=on' {COMPILE}",
    ),
    "AVX2 that the CPU lacks": (
        on(HEALTHY, cpu_features=frozenset({"AVX"})), "cpu", "with AVX2, FMA, F16C, BMI2, which this one lacks",
        f"CMAKE_ARGS='-DGGML_NATIVE=on -DGGML_CUDA=on' {COMPILE}",
    ),
    "AVX that the build leaves unused": (
        replace(NO_GPU, build=Build(features=frozenset({"SSE3"}))), "cpu", "built without AVX, AVX2, FMA, F16C",
        f"CMAKE_ARGS=-DGGML_NATIVE=on {COMPILE}",
    ),
    "the same beside a GPU that holds no whole model": (
        replace(HEALTHY, build=Build(offloads=True, features=frozenset({"SSE3"})), gpus=(RTX_4070,)), "cpu", "built without AVX",
        f"CMAKE_ARGS='-DGGML_NATIVE=on -DGGML_VULKAN=on' {COMPILE}",
    ),
    "the same on Windows": (
        Facts(WINDOWS, replace(HEALTHY.build, features=frozenset()), STORE, (RTX_4070,)), "cpu", "several times slower",
        COMPILE_ON_WINDOWS,
    ),
    "VRAM held by others": (
        replace(HEALTHY, gpus=(CROWDED,)), "vram", "game (9.0 GiB), ollama (2.0 GiB)", "kill 7 9",
    ),
    "VRAM held by others on Windows": (
        Facts(WINDOWS, HEALTHY.build, STORE, (CROWDED,)), "vram", "game (9.0 GiB)", "taskkill /PID 7 /PID 9",
    ),
    "too little memory": (
        on(NO_GPU, ram_total_bytes=8 * GIB, ram_available_bytes=7 * GIB), "ram", "8.0 GiB of memory are fewer",
        'qwq ask -m demo "What is 47 + 85?"',
    ),
    "a container with too little memory": (
        on(NO_GPU, ram_limit_bytes=4 * GIB), "ram", "the container is limited",
        'docker update --memory 24g --memory-swap 24g "$CONTAINER"',
    ),
    "RAM held by others": (
        on(NO_GPU, ram_available_bytes=3 * GIB, largest=Process(5, "browser", 30 * GIB)), "ram",
        "Only 3.0 GiB of RAM are free; browser holds 30.0", "kill 5",
    ),
    "a full disk beside an empty one": (
        stored(HEALTHY, free_bytes=5 * 10**9, roomier=("/mnt/big/qwq-models", 10**12)), "disk", "5.0 GB are free",
        "export QWQ_MODELS=/mnt/big/qwq-models",
    ),
    "a full disk alone": (stored(HEALTHY, free_bytes=5 * 10**9), "disk", "the smallest takes 12.8", "du -xh ~ | sort -rh | head -20"),
    "a full disk on Windows": (
        Facts(WINDOWS, HEALTHY.build, replace(STORE, free_bytes=1, roomier=("D:\\qwq-models", 10**12)), (RTX,)), "disk", "D:\\qwq-models",
        'setx QWQ_MODELS "D:\\qwq-models"',
    ),
    "a folder that cannot be written": (
        stored(HEALTHY, is_writable=False), "disk", "cannot be written: /home/u/models",
        'sudo mkdir -p /home/u/models && sudo chown -R "$USER" /home/u/models',
    ),
    "few files": (on(HEALTHY, files_limit=(256, 10**6)), "files", "may open 256 files", "ulimit -n 4096"),
    "few files for good": (on(HEALTHY, files_limit=(256, 512)), "files", "may open 256 files", "sudo prlimit --nofile=4096 --pid $$"),
    "few files for good on a Mac": (
        Facts(replace(MAC, files_limit=(256, 512)), Build(offloads=True), STORE, (M4,)), "files", "may open 256 files",
        "sudo launchctl limit maxfiles 4096 4096",
    ),
    "a folder that cannot be written on Windows": (
        Facts(WINDOWS, HEALTHY.build, replace(STORE, folder="D:\\m", is_writable=False), (RTX,)), "disk", "cannot be written",
        'icacls "D:\\m" /grant "%USERNAME%:(OI)(CI)F"',
    ),
    "a damaged model": (
        stored(HEALTHY, bad_files=(BadFile("QwQ-32B:Q4_K_M", "it ends 5 bytes early", "qwq rm QwQ-32B:Q4_K_M --yes && qwq pull Q4_K_M"),)),
        "models", "it ends 5 bytes early", "qwq rm QwQ-32B:Q4_K_M --yes && qwq pull Q4_K_M",
    ),
}  # fmt: skip


def test_a_healthy_machine_has_nothing_wrong() -> None:
    for healthy in (HEALTHY, Facts(MAC, Build(offloads=True), STORE, (M4,)), Facts(SYSTEM, CPU_BUILD, STORE)):
        assert diagnose(healthy) == {name: [] for name in CHECKS}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found_alone_with_its_command(fault: str) -> None:
    broken, check, says, command = FAULTS[fault]
    found = [trouble for each in diagnose(broken).values() for trouble in each]
    assert [(trouble.check, trouble.command) for trouble in found] == [(check, command)]
    assert says in found[0].finding


def test_every_check_has_a_fault_here() -> None:
    assert {check for _, check, _, _ in FAULTS.values()} == set(CHECKS)


def test_what_only_the_users_own_shell_can_do_is_not_run() -> None:
    unrunnable = {name for name, (broken, *_) in FAULTS.items() if not next(t for each in diagnose(broken).values() for t in each).can_run}
    assert {"few files", "a full disk beside an empty one", "a container with too little memory"} <= unrunnable
    assert "a GPU and a llama.cpp without CUDA" not in unrunnable


def test_a_build_is_exchanged_with_care_and_other_commands_are_run() -> None:
    for name, (broken, check, _, command) in FAULTS.items():
        [trouble] = [trouble for each in diagnose(broken).values() for trouble in each]
        installs_one = "llama-cpp-python" in command
        assert (trouble.choice is not None) == installs_one, name
        assert not trouble.choice or (trouble.choice.name == "source") == ("--no-binary" in command)
        assert trouble.choice is None or check in {"llama.cpp", "gpu", "driver", "cpu"}


def test_a_model_that_is_here_needs_no_room_for_another() -> None:
    assert diagnose(stored(HEALTHY, free_bytes=1, has_model=True))["disk"] == []


@pytest.mark.parametrize(
    ("status", "printed", "told", "build"),
    [
        (0, '{"offloads": true, "features": ["AVX"], "cuda": 12}', "", Build(True, frozenset({"AVX"}), 12)),
        (1, "", "Traceback\nImportError: libcudart.so.12", Build(failure="ImportError: libcudart.so.12")),
        (-4, "", "", Build(failure="Illegal instruction")),
        (3221225501, "", "", Build(failure="Illegal instruction")),
    ],
)
def test_the_end_of_the_process_that_loads_llama_cpp_is_read(status: int, printed: str, told: str, build: Build) -> None:
    assert facts.read_build(status, printed, told) == build


def test_the_cuda_that_a_build_was_linked_against_is_read_from_its_library(tmp_path: Path) -> None:
    assert cuda_of(tmp_path) is None
    (tmp_path / "libggml-cuda.so").write_bytes(b"\0libcudart.so.12\0")
    assert cuda_of(tmp_path) == 12
    (tmp_path / "libggml-cuda.so").write_bytes(b"\0cudart64_13.dll\0")
    assert cuda_of(tmp_path) == 13


def test_amd_gpus_are_told_by_their_memory(tmp_path: Path) -> None:
    for number, size in enumerate((512 * 2**20, 16 * GIB)):
        (tmp_path / f"card{number}" / "device").mkdir(parents=True)
        (tmp_path / f"card{number}" / "device" / "mem_info_vram_total").write_text(f"{size}\n")
    assert facts.amd_gpus(tmp_path) == (Gpu("AMD", "AMD GPU 1", 16 * GIB),)


def model(owner: str, path: str, base: str = "QwQ-32B") -> LocalModel:
    return LocalModel(f"{base}:Q4_K_M", base, "Q4_K_M", owner, (Path(path),), 5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("owner", "path", "command"),
    [
        ("store", "/m/QwQ-32B-Q4_K_M.gguf", "qwq rm QwQ-32B:Q4_K_M --yes && qwq pull Q4_K_M"),
        ("Ollama", "/o/blobs/sha256-0", "ollama rm qwq && ollama pull qwq"),
        (
            "LM Studio",
            "/l/models/lmstudio-community/QwQ-32B-GGUF/a b.gguf",
            "rm '/l/models/lmstudio-community/QwQ-32B-GGUF/a b.gguf' && lms get lmstudio-community/QwQ-32B-GGUF@q4_k_m",
        ),
        ("Hugging Face", "/h/models--a--b/snapshots/c/x y.gguf", "hf download a/b 'x y.gguf' --revision c --force-download"),
        ("Hugging Face", "/snapshots/models--a--b/snapshots/c/Q4/x.gguf", "hf download a/b Q4/x.gguf --revision c --force-download"),
    ],
)
def test_a_damaged_file_is_mended_with_its_owners_program(owner: str, path: str, command: str) -> None:
    found = facts.bad_file(model(owner, path))
    assert found is not None
    assert found.command == command
    assert "cannot be read" in found.problem


def test_commands_for_windows_are_quoted_as_its_shell_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Windows")
    assert mending(model("Hugging Face", "/h/models--a--b/snapshots/c/x y.gguf"), Path("/h/models--a--b/snapshots/c/x y.gguf")) == (
        'hf download "a/b" "x y.gguf" --revision "c" --force-download'
    )
    assert mending(model("LM Studio", "/models/a/b/c.gguf"), Path("/models/a/b/c.gguf")).startswith('del "')


def test_a_model_of_ollamas_has_the_name_of_its_manifest(tmp_path: Path) -> None:
    blob = tmp_path / "blobs" / f"sha256-{'0' * 64}"
    blob.parent.mkdir()
    blob.write_bytes(b"damaged")
    for tag, digest in (("32b-q8_0", f"sha256:{'1' * 64}"), ("32b-q4_K_M", f"sha256:{'0' * 64}")):
        manifest = tmp_path / "manifests" / "host" / "library" / "qwq" / tag
        manifest.parent.mkdir(parents=True, exist_ok=True)
        manifest.write_text(json.dumps({"layers": [{"digest": digest}]}))
    name = "host/library/qwq:32b-q4_K_M"
    assert mending(model("Ollama", str(blob)), blob) == f"ollama rm {name} && ollama pull {name}"


def test_the_version_that_is_installed_is_the_one_that_this_package_needs() -> None:
    said = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
    assert REQUIREMENT in said["project"]["dependencies"]


def test_a_gpu_that_holds_a_whole_model_leaves_the_cpu_little_to_do() -> None:
    assert diagnose(replace(HEALTHY, build=Build(offloads=True, features=frozenset({"SSE3"}))))["cpu"] == []


def test_this_machine_can_be_asked() -> None:
    found = facts.gather()
    assert found.system.python == sys.executable
    assert found.build == Build(**{**describe_build(), "features": frozenset(describe_build()["features"])})
    assert found.store.free_bytes > 0
    assert found.system.largest is None or found.system.largest.held_bytes > 0
