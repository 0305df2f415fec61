"""Machines that pretend to have a GPU, for the proofs: its driver, its entries in the system's folders, and its builds of llama.cpp."""

from __future__ import annotations

import base64
import hashlib
import http.server
import os
import shutil
import subprocess
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

NVML: Final = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* What pynvml asks of NVIDIA's driver, answered as one with an RTX 4090 would, or with another GPU of the name FAKE_GPU and the compute
   capability FAKE_CAPABILITY, which it does not tell where that is empty; FAKE_CUDA is the newest CUDA that it runs. */
static const char *said(const char *name, const char *otherwise) { const char *s = getenv(name); return s ? s : otherwise; }
typedef void *dev;
struct memory { unsigned long long total, free, used; };
int nvmlInitWithFlags(unsigned f) { return 0; }
int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int c) { return c == 3 ? "Not Supported" : "Unknown Error"; }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = 1; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, dev *d) { *d = (dev)1; return i ? 2 : 0; }
int nvmlDeviceGetMemoryInfo(dev d, struct memory *m) { m->total = 24ull << 30; m->free = 23ull << 30; m->used = 1ull << 30; return 0; }
int nvmlDeviceGetName(dev d, char *s, unsigned n) { strncpy(s, said("FAKE_GPU", "NVIDIA GeForce RTX 4090"), n); return 0; }
int nvmlDeviceGetCudaComputeCapability(dev d, int *a, int *b) { return sscanf(said("FAKE_CAPABILITY", "8.9"), "%d.%d", a, b) == 2 ? 0 : 3; }
int nvmlDeviceGetMaxClockInfo(dev d, int t, unsigned *mhz) { *mhz = 10501; return 0; }
int nvmlDeviceGetMemoryBusWidth(dev d, unsigned *bits) { *bits = 384; return 0; }
int nvmlDeviceGetComputeRunningProcesses_v3(dev d, unsigned *n, void *p) { *n = 0; return 0; }
int nvmlDeviceGetGraphicsRunningProcesses_v3(dev d, unsigned *n, void *p) { *n = 0; return 0; }
int nvmlSystemGetCudaDriverVersion_v2(int *v) { *v = atoi(getenv("FAKE_CUDA")); return 0; }
"""
APPLE: Final = """
import os, platform
if os.environ.get("FAKE_APPLE"):
    platform.system = lambda: "Darwin"
    platform.machine = lambda: os.environ["FAKE_APPLE"]
    import qwq_local.machine.hardware as hardware
    hardware.cpu_name = lambda: "Apple M4"
"""
KILLED: Final = """
import os, signal, sys
if os.environ.get("KILLED_AT") and "doctor" in sys.argv and "-m" not in sys.orig_argv:
    moves, move = [0], os.replace
    def replace(*arguments, **named):
        moves[0] += 1
        if moves[0] == int(os.environ["KILLED_AT"]):
            os.kill(os.getpid(), signal.SIGKILL)
        move(*arguments, **named)
    os.replace = os.rename = replace
    import atexit
    atexit.register(lambda: open(os.environ["MOVES_FILE"], "w").write(str(moves[0])) if os.environ.get("MOVES_FILE") else None)
"""
"""Beside the program, as a sitecustomize: it dies at one of its renames, as by kill -9."""


def compile_library(folder: Path, name: str, source: str, *flags: str) -> Path:
    """A shared library of a few lines of C."""
    folder.mkdir(parents=True, exist_ok=True)
    text = folder / f"{name}.c"
    text.write_text(source)
    subprocess.run([shutil.which("cc") or "cc", "-shared", "-fPIC", "-o", folder / name, text, *flags], check=True)
    return folder / name


def in_namespace(script: str, program: list[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a program in a mount namespace of its own, after a shell script has changed what it sees there."""
    command = [
        shutil.which("unshare") or "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-euc",
        f'{script}\nexec "$@"',
        "sh",
        *program,
    ]
    return subprocess.run(command, env=dict(environment), capture_output=True, text=True, check=False)


def amd_card(folder: Path, rocm: str) -> str:
    """The script that lets a namespace see an AMD card of 24 GiB, and ROCm where a version is given."""
    card = folder / "drm" / "card0" / "device"
    card.mkdir(parents=True, exist_ok=True)
    (card / "mem_info_vram_total").write_text(f"{24 * 2**30}\n")
    lines = ["mount -t tmpfs none /sys/class", "mkdir /sys/class/drm", f"cp -r {folder}/drm/* /sys/class/drm/"]
    if rocm:
        lines += ["mount -t tmpfs none /opt", "mkdir -p /opt/rocm/.info", f"echo {rocm} > /opt/rocm/.info/version"]
    return "\n".join(lines)


def rewrapped(wheel: Path, folder: Path, version: str, change: Callable[[str, bytes], bytes] | None = None) -> Path:
    """The same wheel under another version, its files changed by `change` (name, content): its RECORD says what it now holds."""
    name, old, tags = wheel.name.split("-", 2)
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / f"{name}-{version}-{tags}"
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as target:
        rows: list[str] = []
        for entry in source.infolist():
            if entry.filename.endswith(".dist-info/RECORD"):
                continue
            content = source.read(entry)
            if entry.filename.endswith((".dist-info/METADATA", "llama_cpp/__init__.py")):
                content = content.replace(old.encode(), version.encode(), 1)
            entry.filename = entry.filename.replace(f"-{old}.dist-info", f"-{version}.dist-info")
            content = change(entry.filename, content) if change else content
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            rows.append(f"{entry.filename},sha256={digest},{len(content)}\n")
            target.writestr(entry, content)
        record = f"{name}-{version}.dist-info/RECORD"
        target.writestr(record, "".join(rows) + f"{record},,\n")
    return made


def add_to_mirror(mirror: Path, build: str, wheel: Path) -> None:
    """Put a wheel where a mirror has this build (PEP 503)."""
    project = mirror / build / "llama-cpp-python"
    project.mkdir(parents=True, exist_ok=True)
    (project / wheel.name).write_bytes(wheel.read_bytes())
    links = "".join(f'<a href="{path.name.replace("+", "%2B")}">{path.name}</a>\n' for path in sorted(project.glob("*.whl")))
    (project / "index.html").write_text(f"<!DOCTYPE html><html><body>\n{links}</body></html>\n")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """A folder as a web server on this machine; its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=os.fspath(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
