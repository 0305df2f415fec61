"""Where each shell looks for a user's completions, and our scripts put there and taken away.

Places: bash-completion's README ("Where should I install my own local completions?"), the fpath of zsh's compinit (zshcompsys(1), which
has no place of its own for a user), and fish's "Where to put completions" (fishshell.com/docs/current/completions.html).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from qwq_local.cli.completing.shells import SCRIPTS, script
from qwq_local.errors import InstallationError, SettingsError

BASH_COMPLETION: Final = ("/usr/share/bash-completion", "/usr/local/share/bash-completion", "/opt/homebrew/share/bash-completion")
POWERSHELL_LINE: Final = "qwq completion powershell | Out-String | Invoke-Expression"


class Installed(NamedTuple):
    """A script that was put in place, and what else is to be done, or nothing."""

    path: Path
    then: str


def place(shell: str, environment: Mapping[str, str] = os.environ) -> Path:
    """The file that a shell takes completions for `qwq` from. Raises SettingsError for one that has no such place."""
    if shell not in SCRIPTS:
        raise SettingsError(f"{shell} has no folder of completions.", hint=f"Add this line to its $PROFILE: {POWERSHELL_LINE}")
    home = Path.home()
    data = _folder(environment, "XDG_DATA_HOME", home / ".local" / "share")
    folders = {
        "bash": _folder(environment, "BASH_COMPLETION_USER_DIR", data / "bash-completion") / "completions",
        "zsh": data / "zsh" / "site-functions",
        "fish": _folder(environment, "XDG_CONFIG_HOME", home / ".config") / "fish" / "completions",
    }
    return folders[shell] / ("qwq" if shell == "bash" else SCRIPTS[shell])


def install(shell: str) -> Installed:
    """Put a shell's script in its place. Raises SettingsError, and InstallationError where it cannot be written or is another's."""
    path = place(shell)
    try:
        if path.is_file() and not is_ours(path):
            raise InstallationError(f"{path} is there and not from qwq completion.", hint="Move it away, and try again.")
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.new")
        draft.write_text(script(shell), "utf-8")
        draft.replace(path)
    except OSError as error:
        raise InstallationError(
            f"{error.filename or path} cannot be written: {error.strerror}.", hint="Make its folder writable."
        ) from error
    return Installed(path, _then(shell, path))


def remove(shell: str) -> Path | None:
    """Take a shell's script away; None where there is none of ours. Raises SettingsError, and InstallationError where it cannot go."""
    path = place(shell)
    try:
        if not is_ours(path):
            return None
        path.unlink()
    except OSError as error:
        raise InstallationError(f"{path} cannot be removed: {error.strerror}.", hint="Make its folder writable.") from error
    return path


def installed() -> list[Path]:
    """Every script that was put in place, and is still there."""
    return [path for path in map(place, SCRIPTS) if is_ours(path)]


def is_ours(path: Path) -> bool:
    """Whether a file is one of our scripts, of any version."""
    try:
        return "`qwq completion " in "".join(path.read_text("utf-8", errors="replace").splitlines()[:2])
    except OSError:
        return False


def zsh_line(path: Path) -> str:
    """What ~/.zshrc has to say for zsh to find the script."""
    return f"fpath=({path.parent} $fpath); autoload -Uz compinit && compinit"


def _then(shell: str, path: Path) -> str:
    if shell == "zsh":
        return f"Add this line to ~/.zshrc, and open a new shell: {zsh_line(path)}"
    if shell == "bash" and not any(Path(folder, "bash_completion").is_file() for folder in BASH_COMPLETION):
        return f"Without the package bash-completion, add this line to ~/.bashrc: source {path}"
    return ""


def _folder(environment: Mapping[str, str], variable: str, otherwise: Path) -> Path:
    """What a variable of the environment names; the XDG specification has a relative path ignored."""
    named = environment.get(variable, "")
    return Path(named) if Path(named).is_absolute() else otherwise
