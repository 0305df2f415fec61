"""A build of llama.cpp tried in a process of its own: whether it computes, and where."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from qwq_local.builds import Vendor
from qwq_local.doctor.running import Order, Runner
from qwq_local.errors import TrialError

PROGRAM: Final = "qwq_local.llama._trial"
SECONDS: Final = 300.0
"""A GPU's first kernels may be compiled by its driver, which takes minutes."""
GPU_KINDS: Final = frozenset({"gpu", "igpu"})
VENDORS: Final[dict[Vendor, str]] = {"NVIDIA": r"nvidia|geforce|quadro|rtx|tesla", "AMD": r"amd|radeon|gfx\d", "Apple": r"apple"}
"""How drivers call a vendor's GPUs."""
CUDA_LIBRARY: Final = re.compile(r"libcu(dart|blas)|cu(dart|blas)64|or one of its dependencies")
"""As the loader calls it; on Windows, Python does not say which library it is that a build lacks."""


@dataclass(frozen=True)
class Sought:
    """A GPU that a build is to use: of a vendor, and where its driver tells it, of this name."""

    vendor: Vendor
    name: str = ""

    def is_in(self, seen: str) -> bool:
        """Whether it is among GPUs as llama.cpp describes them."""
        return bool(re.search(re.escape(self.name) if self.name else VENDORS[self.vendor], seen, re.IGNORECASE))

    def __str__(self) -> str:
        return self.name or f"GPU of {self.vendor}'s"


@dataclass(frozen=True)
class Expected:
    """What a build must show: every layer on GPUs, and among those it sees one of `gpus`; none there is any."""

    offloads: bool = False
    gpus: tuple[Sought, ...] = ()

    @property
    def wanted(self) -> str:
        """The GPUs, in words."""
        return " or ".join(map(str, self.gpus)) or "GPU"

    @property
    def told(self) -> str:
        """What it must do, in words."""
        is_named = self.gpus and self.gpus[0].name
        gpu = self.wanted if is_named else f"a {self.wanted}"
        return f"see {gpu}, put every layer of the built-in model on it, and write a token" if self.offloads else "and write a token"


@dataclass(frozen=True)
class Tried:
    """What a build showed: its version, the devices that hold the layers, in words, and the token that it wrote."""

    version: str
    devices: str
    token: str


def trial(run: Runner, expected: Expected, folder: Path, *, is_aside: bool = False) -> Tried:
    """Try the build in `folder`, which Python does not search by itself where it `is_aside`.

    Raises TrialError where it is not as expected.
    """
    environment = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONSAFEPATH": "1"}
    if is_aside:
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))
    ended = run(Order((sys.executable, "-m", PROGRAM), environment, seconds=SECONDS))
    said = ended.answer
    if ended.status != 0 or said is None:
        lacks_cuda = bool(CUDA_LIBRARY.search(ended.told))
        hint = (
            "It needs CUDA's libraries; --build vulkan needs the driver alone."
            if lacks_cuda
            else "It is not for this machine, or came damaged: try again, or another one with --build."
        )
        raise TrialError(f"The new build does not run here: {ended.reason}.".replace("..", "."), hint=hint, lacks_cuda=lacks_cuda)
    if folder.resolve() not in Path(said["file"]).resolve().parents:
        raise TrialError(f"Python finds llama-cpp-python at {said['file']} before the one in {folder}.", hint="Unset PYTHONPATH.")
    return judge(said, expected)


def judge(said: dict[str, Any], expected: Expected) -> Tried:
    """What the trial printed, held against what is expected. Raises TrialError."""
    gpus = {each["name"]: each["description"] for each in said["devices"] if each["kind"] in GPU_KINDS}
    if expected.offloads:
        _require_gpu(said, gpus, expected)
    placed: dict[str, int] = said["placed"]
    where = ", ".join(f"{count} on {name}" + (f" ({gpus[name]})" if name in gpus else "") for name, count in placed.items())
    return Tried(said["version"], where, said["token"])


def _require_gpu(said: dict[str, Any], gpus: dict[str, str], expected: Expected) -> None:
    hint = "Another may: --build vulkan, or --build source."
    if not said["offloads"]:
        raise TrialError("The new build runs, but uses no GPU: it was built for the CPU alone.", hint=hint)
    if not gpus:
        raise TrialError("The new build runs, but sees no GPU.", hint=hint)
    seen = ", ".join(gpus.values())
    if expected.gpus and not any(gpu.is_in(seen) for gpu in expected.gpus):
        raise TrialError(f"The new build sees {seen}, and no {expected.wanted}.", hint=hint)
    stayed = sum(count for name, count in said["placed"].items() if name not in gpus)
    if stayed or not said["placed"]:
        raise TrialError(f"The new build sees {seen}, but leaves {stayed} of the built-in model's weights in RAM.", hint=hint)
