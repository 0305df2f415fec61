"""What the executable `qwq` of the app runs: the command line, in an environment that is the user's own again."""

import os
import sys

_SEARCH_PATHS = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LIBPATH")


def restore_search_paths() -> None:
    """Programs started from here, such as the browser, must find their own libraries, not those packed for this one.

    PyInstaller's bootloader puts its folder before what stood in these variables, and keeps that under another name ("LD_LIBRARY_PATH /
    LIBPATH considerations" in its manual). For this process they have been read already.
    """
    for name in _SEARCH_PATHS:
        given = os.environ.pop(f"{name}_ORIG", None)
        if given is not None:
            os.environ[name] = given
        else:
            os.environ.pop(name, None)


if __name__ == "__main__":
    restore_search_paths()
    from qwq_local.cli import main

    sys.exit(main())
