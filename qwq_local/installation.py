"""How this program came to this machine, and so what starts it and what takes it away again."""

from __future__ import annotations

import json
import sys
import sysconfig
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final, Literal, TypeAlias

Kind: TypeAlias = Literal["pip", "pipx", "uv", "source", "kit", "app", "deb"]
DISTRIBUTION: Final = "qwq-local"
KIT_MARK: Final = "qwq-kit.json"
"""What a kit's installer leaves in the virtual environment that it makes."""
DEB_FOLDER: Final = Path("/usr/lib/qwq-local")
"""Where the Debian package puts the program."""


@dataclass(frozen=True)
class Installation:
    """`program` starts `qwq` with whatever is added to it; `folder` is the environment, or the app's folder, that it lies in."""

    kind: Kind
    program: tuple[str, ...]
    folder: Path

    @property
    def has_pip(self) -> bool:
        """Whether packages can be exchanged in it; an app is a whole that was built elsewhere."""
        return self.kind not in {"app", "deb"}


def find_installation() -> Installation:
    """This program's own."""
    if getattr(sys, "frozen", False):
        program = Path(sys.executable)
        return Installation("deb" if DEB_FOLDER in program.parents else "app", (str(program),), program.parent)
    prefix = Path(sys.prefix)
    return Installation(_kind(prefix), _program(), prefix)


def _kind(prefix: Path) -> Kind:
    marks: dict[str, Kind] = {KIT_MARK: "kit", "pipx_metadata.json": "pipx", "uv-receipt.toml": "uv"}
    for mark, kind in marks.items():
        if (prefix / mark).is_file():
            return kind
    return "source" if _is_editable() else "pip"


def _is_editable() -> bool:
    """As PEP 610 records it in direct_url.json; a package that was never installed runs from its source."""
    try:
        said = distribution(DISTRIBUTION).read_text("direct_url.json")
    except PackageNotFoundError:
        return True
    return bool(json.loads(said or "{}").get("dir_info", {}).get("editable"))


def _program() -> tuple[str, ...]:
    script = Path(sysconfig.get_path("scripts")) / ("qwq.exe" if sys.platform == "win32" else "qwq")
    return (str(script),) if script.is_file() else (sys.executable, "-m", "qwq_local.cli")
