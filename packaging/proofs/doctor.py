"""What `qwq doctor --fix` promises, seen from outside: python packaging/proofs/doctor.py (Linux, root, a C compiler, PyPI).

In a temporary folder: a new virtual environment with qwq-local, a mirror of builds, and machines that pretend to have each GPU (a driver of
NVIDIA's compiled here, AMD's entries in /sys of a mount namespace, a Python that says it runs on an Apple M4). Prints what was asked and
seen, and ends with 1 where something is not as promised.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from doctor_environment import FIXING, Proof, error, without
from pretence import APPLE, KILLED, NVML, add_to_mirror, amd_card, compile_library, in_namespace, rewrapped, served

ROOT: Final = Path(__file__).resolve().parents[2]
VERSION, OTHER = "0.3.36", "0.3.36+proof"
KILLS: Final = 6


def main() -> int:
    """Make everything, ask everything, and tell."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="qwq-proof-") as made:
        folder = Path(made)
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        proof = Proof(folder)
        pip: list[str | Path] = [proof.python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", ROOT], check=True)
        subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", folder, f"llama-cpp-python=={VERSION}"], check=True)
        fill_mirror(proof, next(folder.glob("llama_cpp_python-*.whl")))
        proof.answer()  # Python's caches are written now, so that nothing else changes later
        for part in (nvidia, amd, apple, cpu, kills, broken, hindered):
            part(proof)
    bad = sum(not is_so for is_so, _, _ in proof.rows)
    print(f"{len(proof.rows) - bad} of {len(proof.rows)} as promised, in {time.monotonic() - began:.0f} s")
    return 1 if bad else 0


def fill_mirror(proof: Proof, wheel: Path) -> None:
    """A build for the CPU under another version; one that is damaged; and two that call themselves CUDA's and Vulkan's."""
    made = proof.folder / "made"
    other = rewrapped(wheel, made / "other", OTHER)
    for build in ("cpu", "vulkan", "rocm72", "cu118"):
        add_to_mirror(proof.mirror, build, other)
    add_to_mirror(proof.folder / "cut", "cpu", rewrapped(wheel, made / "cut", f"{VERSION}+cut", cut_in_half))
    compile_library(made, "libcudart.so.12", "int cuda_stands_for(void) { return 0; }", "-Wl,-soname,libcudart.so.12")
    needing = compile_library(
        made, "libllama.so", "int cuda_stands_for(void); int f(void) { return cuda_stands_for(); }", str(made / "libcudart.so.12")
    ).read_bytes()
    cuda = rewrapped(wheel, made / "cuda", f"{VERSION}+cuda", lambda name, content: needing if "/lib/libllama.so" in name else content)
    add_to_mirror(proof.mirror, "cu124", cuda)


def cut_in_half(name: str, content: bytes) -> bytes:
    """llama.cpp's library, of which a part was lost."""
    return content[: len(content) // 2] if "/lib/libllama" in name else content


def nvidia(proof: Proof) -> None:
    """A driver of NVIDIA's that tells of an RTX 4090, or of a GPU that CUDA 13 has no kernels for."""
    driver = str(compile_library(proof.folder / "driver", "libnvidia-ml.so.1", NVML).parent)
    for cuda, build in (("12040", "cu124"), ("11080", "cu118"), ("13020", "cu132"), ("12090", "cu125"), ("10020", "vulkan")):
        told = f"RTX 4090, driver for CUDA {int(cuda) // 1000}.{int(cuda) % 1000 // 10}"
        see_choice(proof, told, build, partial(proof.qwq, LD_LIBRARY_PATH=driver, FAKE_CUDA=cuda))
    for gpu, capability, build in (
        ("GTX 1080", "6.1", "cu125"),
        ("TITAN V", "7.0", "cu125"),
        ("RTX 2080", "7.5", "cu132"),
        ("GTX 980", "5.2", "vulkan"),
        ("GPU that tells no generation", "", "cu132"),
    ):
        ask = partial(proof.qwq, LD_LIBRARY_PATH=driver, FAKE_CUDA="13020", FAKE_GPU=f"NVIDIA {gpu}", FAKE_CAPABILITY=capability)
        see_choice(proof, f"{gpu}, driver for CUDA 13.2", build, ask)
    by_name = partial(proof.fix, "cu132", LD_LIBRARY_PATH=driver, FAKE_CUDA="13020", FAKE_CAPABILITY="6.1")
    see_refusal(proof, "a GPU like a GTX 1080, and cu132 by name", "no kernels", by_name)
    fake = {"LD_LIBRARY_PATH": driver, "FAKE_CUDA": "11080"}
    before = proof.files()
    refused = proof.fix("cu118", **fake)
    proof.see("RTX 4090: a cu118 that is the CPU's in truth is refused", error(refused), is_so="uses no GPU" in refused.stderr)
    proof.see("   and nothing is changed", proof.version(), is_so=proof.files() == before)
    fake["FAKE_CUDA"] = "12040"
    refused = proof.qwq("doctor", "--fix", "--yes", "--index-url", proof.mirror, **fake)
    both = "libcudart.so.12" in refused.stderr and "fetching vulkan" in refused.stderr
    proof.see(
        "RTX 4090 without CUDA's libraries: cu124 is tried, then vulkan", error(refused), is_so=both and "uses no GPU" in refused.stderr
    )
    proof.see("   and nothing is changed", proof.version(), is_so=proof.files() == before)


def amd(proof: Proof) -> None:
    """A card of AMD's in /sys, with and without ROCm."""
    for rocm, build in (("", "vulkan"), ("7.2.0-43", "rocm72"), ("7.1.1-38", "vulkan"), ("8.0.0-1", "vulkan")):
        script = amd_card(proof.folder, rocm)
        ask = lambda *a, s=script: in_namespace(s, [str(proof.program), *a], proof.environment)  # noqa: E731
        see_choice(proof, f"AMD card of 24 GiB, {f'ROCm {rocm}' if rocm else 'no ROCm'}", build, ask)


def apple(proof: Proof) -> None:
    """A Python that says it runs on an Apple M4, its own or Intel's."""
    folder = proof.folder / "apple"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(APPLE)
    see_choice(proof, "Apple M4", "metal", lambda *a: proof.qwq(*a, PYTHONPATH=str(folder), FAKE_APPLE="arm64"))
    told = proof.qwq("doctor", "--fix", "--dry-run", PYTHONPATH=str(folder), FAKE_APPLE="x86_64").stdout
    proof.see("Apple M4, but a Python for Intel", "brew install pipx", is_so="for Intel" in told and "Left to you" in told)


def see_choice(proof: Proof, machine: str, build: str, ask: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """`doctor` names the pip line, `--fix --dry-run` the steps; neither changes anything."""
    before = proof.files()
    troubles = json.loads(ask("doctor", "--json").stdout)["checks"]["gpu"]
    told: dict[str, Any] = json.loads(ask("doctor", "--fix", "--dry-run", "--json").stdout)
    by_hand, steps = troubles[0]["command"], told["steps"]
    is_right = f"/whl/{build} " in by_hand and f"/whl/{build} " in steps[0] and "lies idle" in troubles[0]["finding"]
    proof.see(machine, by_hand.rpartition("--index-url ")[2], is_so=is_right and len(steps) >= 5 and proof.files() == before)


def cpu(proof: Proof) -> None:
    """Really exchanged, from a folder and from a server, and undone; with links in its folder, to nothing and to a folder."""
    for name, target in (("libmine.so", "libgone.so"), ("also", "../lib")):
        (proof.site / "llama_cpp" / "lib" / name).symlink_to(target)
    before = proof.files()
    done = proof.fix("cpu", "--json")
    tried = json.loads(done.stdout)["mended"][0]["tried"] if done.returncode == 0 else {"devices": error(done)}
    proof.see("--fix --build cpu", f"{proof.version()}; weights {tried['devices']}", is_so=proof.version() == OTHER)
    proof.see("   answers", proof.answer(), is_so="132" in proof.answer())
    checked = subprocess.run([proof.python, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    proof.see("   pip check", checked.stdout.strip(), is_so=checked.returncode == 0)
    network = ["unshare", "--net", str(proof.program), "doctor", "--undo"]
    undone = subprocess.run(network, env=proof.environment, capture_output=True, text=True, check=False)
    proof.see("--undo, without network", undone.stdout.strip(), is_so=undone.returncode == 0 and proof.version() == VERSION)
    proof.see("   the old files byte for byte", f"{len(before)} files", is_so=proof.files() == before)
    proof.see("   answers", proof.answer(), is_so="132" in proof.answer())
    again = proof.qwq("doctor", "--undo")
    proof.see("--undo again", error(again), is_so=again.returncode == 1 and "nothing to undo" in again.stderr)
    with served(proof.mirror) as address:
        proof.qwq("doctor", "--fix", "--yes", "--build", "cpu", "--index-url", address)
    proof.see("--index-url http://127.0.0.1", proof.version(), is_so=proof.version() == OTHER)
    proof.qwq("doctor", "--undo")
    proof.see("   and back", proof.version(), is_so=proof.files() == before)


def kills(proof: Proof) -> None:
    """Killed at renames from the first to the last, while pip works, and while it is being mended."""
    folder, before = proof.folder / "killed", proof.files()
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(KILLED)
    deadly = {"PYTHONPATH": str(folder), "MOVES_FILE": str(folder / "moves")}
    proof.fix("cpu", **deadly, KILLED_AT="1000000")
    proof.qwq("doctor", "--undo")
    n_moves = int((folder / "moves").read_text())
    recognized = mended = 0
    points = [1 + round(i * (n_moves - 1) / (KILLS - 1)) for i in range(KILLS)]
    for point in points:
        proof.fix("cpu", **deadly, KILLED_AT=str(point))
        is_half = point > 1  # before its first rename, nothing is begun
        looked = json.loads(proof.qwq("doctor", "--json").stdout)["checks"]["exchange"]
        recognized += bool(looked) == is_half
        proof.qwq("doctor", "--undo", **deadly, KILLED_AT=str(point // 2))  # the mending is killed as well
        proof.qwq("doctor", "--undo")
        mended += proof.files() == before
    told = f"of {KILLS}, at renames {points} of {n_moves}"
    proof.see("kill -9 in the middle: recognized", f"{recognized} {told}", is_so=recognized == KILLS)
    proof.see("   mended, though the mending was killed once too", f"{mended} {told}", is_so=mended == KILLS)
    killed_and_damaged(proof, before, deadly | {"KILLED_AT": str(n_moves // 2)})
    killed_while_fetching(proof, before)


def killed_and_damaged(proof: Proof, before: dict[str, str], deadly: dict[str, str]) -> None:
    """Killed in the middle, and then the wheel cannot be read that the old build was kept in."""
    proof.fix("cpu", **deadly)
    for wheel in proof.data.rglob("*.whl"):
        wheel.write_bytes(b"damaged")
    told = proof.qwq("doctor", "--undo")
    is_back = "is back in its place" in told.stdout and "cannot be read" in told.stdout
    proof.see("   mended, though the kept wheel was damaged too", proof.version(), is_so=is_back and proof.files() == before)


def killed_while_fetching(proof: Proof, before: dict[str, str]) -> None:
    """Killed as soon as pip has begun to write."""
    command: list[str | Path] = [proof.program, *FIXING, "cpu", "--index-url", proof.mirror]
    with subprocess.Popen(command, env=proof.environment, stderr=subprocess.DEVNULL, process_group=0) as process:
        while process.poll() is None and not (proof.site / "~qwq-new").is_dir():
            time.sleep(0.01)
        os.killpg(process.pid, 9)
    told = proof.qwq("doctor").stdout.splitlines()[0]
    proof.see("kill -9 while pip works", told[11:], is_so="half-fetched" in told)
    fixed = proof.fix("cpu")
    proof.see(
        "   --fix mends it, and goes on", fixed.stderr.splitlines()[0], is_so="broken off" in fixed.stderr and proof.version() == OTHER
    )
    proof.qwq("doctor", "--undo")
    proof.see("   and back", proof.version(), is_so=proof.files() == before)


def broken(proof: Proof) -> None:
    """Builds that cannot be had or do not run: whatever it is, the old one stays."""
    for asked, says, build, index in (
        ("a build whose library is cut in half", "does not run", "cpu", proof.folder / "cut"),
        ("a mirror that nobody answers at", "cannot be reached", "cpu", "http://127.0.0.1:9"),
        ("a mirror with older builds only", "has no llama-cpp-python>=0.3.36", "cpu", old_mirror(proof)),
        ("a mirror without this build", "has no llama-cpp-python>=0.3.36", "vulkan", proof.folder / "cut"),
        ("a build that does not fit", "no driver of NVIDIA's", "cu124", proof.mirror),
        ("a build that there is not", "none of that name", "cuda", proof.mirror),
    ):
        see_refusal(proof, asked, says, partial(proof.qwq, *FIXING, build, "--index-url", index, PIP_RETRIES="1"))
    see_refusal(proof, "no room where the old build is to be kept", "disk is full", lambda: on_small_disk(proof, proof.data / "builds"))
    see_refusal(proof, "no room where pip unpacks the new one", "disk is full", lambda: on_small_disk(proof, proof.folder / "tmp"))


def see_refusal(proof: Proof, asked: str, says: str, ask: Callable[[], subprocess.CompletedProcess[str]]) -> None:
    """It ends with an error that says so and a hint, and nothing is changed."""
    before = proof.files()
    ended = ask()
    is_told = ended.returncode in {1, 2} and says in ended.stderr and "hint:" in ended.stderr
    proof.see(asked, error(ended), is_so=is_told and proof.files() == before)


def old_mirror(proof: Proof) -> Path:
    """A mirror whose newest build is older than this package needs."""
    wheel = next((proof.mirror / "cpu").rglob("*.whl"))
    add_to_mirror(proof.folder / "old", "cpu", rewrapped(wheel, proof.folder / "made" / "old", "0.3.1"))
    return proof.folder / "old"


def on_small_disk(proof: Proof, folder: Path) -> subprocess.CompletedProcess[str]:
    """A folder that has room for 4 MB."""
    folder.mkdir(parents=True, exist_ok=True)
    script = f"mount -t tmpfs -o size=4m none '{folder}'"
    environment = proof.environment | {"TMPDIR": str(proof.folder / "tmp")}
    return in_namespace(script, [str(proof.program), *FIXING, "cpu", "--index-url", str(proof.mirror)], environment)


def hindered(proof: Proof) -> None:
    """Environments that may not be changed, or have nothing to change them with."""
    fixing = [str(proof.program), *FIXING, "cpu", "--index-url", str(proof.mirror)]
    script = f"mount --bind {proof.site} {proof.site}\nmount -o remount,bind,ro {proof.site}"
    ended = in_namespace(script, fixing, proof.environment)
    proof.see("packages that may not be written", error(ended), is_so="may not be written" in ended.stderr and "sudo" in ended.stderr)
    with without(proof.site / "pip"):
        ended = proof.fix("cpu", PATH="/nowhere")
        proof.see("neither pip nor uv", error(ended), is_so="ensurepip" in ended.stderr)
        uv = proof.folder / "uv"
        subprocess.run([sys.executable, "-m", "venv", uv], check=True)
        subprocess.run([uv / "bin" / "python", "-m", "pip", "install", "--quiet", "uv"], check=True)
        before = proof.files()
        ended = proof.fix("cpu", UV=str(uv / "bin" / "uv"))
        installer = next(proof.site.glob("llama_cpp_python-*/INSTALLER")).read_text().strip()
        told = f"installed by {installer}: {''.join(ended.stdout.splitlines()[:1])}"
        proof.see("uv alone", told, is_so=ended.returncode == 0 and installer == "uv")
        proof.qwq("doctor", "--undo")
        proof.see("   and back", "byte for byte", is_so=proof.files() == before)
    tools = proof.folder / "bin"
    tools.mkdir()
    (tools / "apt").symlink_to("/usr/bin/apt")
    ended = proof.qwq(*FIXING, "source", PATH=str(tools))
    proof.see("no compiler", error(ended), is_so="C++ compiler" in ended.stderr and "build-essential" in ended.stderr)


if __name__ == "__main__":
    sys.exit(main())
