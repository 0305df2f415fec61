"""What the executable `qwq-desktop` of the app runs: `qwq desktop`, by the other executable of its folder.

On Windows and macOS a program says of itself whether it has a terminal, so a double click needs one of its own; all the rest is in `qwq`.
"""

import os
import sys
from pathlib import Path

from search_paths import restore_search_paths


def main() -> int:
    """Become `qwq desktop`; on Windows, where no process can become another, wait for it."""
    program = str(Path(sys.executable).with_name("qwq.exe" if sys.platform == "win32" else "qwq"))
    command = [program, "desktop", *sys.argv[1:]]
    if sys.platform != "win32":
        restore_search_paths()  # or else the other executable's bootloader takes this one's folder for the user's wish
        os.execv(program, command)  # noqa: S606 - our own program, and no shell is wanted
    import subprocess

    nothing = subprocess.DEVNULL  # or else a console that nobody sees would look like somebody's terminal
    hidden = subprocess.CREATE_NO_WINDOW
    return subprocess.run(command, stdin=nothing, stdout=nothing, stderr=nothing, creationflags=hidden, check=False).returncode  # noqa: S603 - our own


if __name__ == "__main__":
    sys.exit(main())
