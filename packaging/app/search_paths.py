"""Where libraries are looked for, as it was before the app's boot loader changed it."""

import os
from typing import Final

SEARCH_PATHS: Final = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LIBPATH")


def restore_search_paths() -> None:
    """Programs started from here, such as the browser, must find their own libraries, not those packed for this one.

    PyInstaller's bootloader puts its folder before what stood in these variables, and keeps that under another name ("LD_LIBRARY_PATH /
    LIBPATH considerations" in its manual). For this process they have been read already.
    """
    for name in SEARCH_PATHS:
        given = os.environ.pop(f"{name}_ORIG", None)
        if given is not None:
            os.environ[name] = given
        else:
            os.environ.pop(name, None)
