"""What a kit's `install` starts: it asks whether this Python is one that the kit is for, in words that every Python understands.

Then it compares the installer's own files with their hashes, and hands over to them.
"""

import hashlib
import importlib
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - Python 2 has no pathlib
AGAIN = "hint: Make it again where it was made (qwq kit make, with the same options), or copy the whole folder again.\n"

try:
    with open(os.path.join(HERE, "kit.json"), "rb") as _file:  # noqa: PTH118, PTH123 - likewise
        _KIT = json.loads(_file.read().decode("utf-8"))
    _PYTHONS = [str(_version) for _version in _KIT["pythons"]]
    _OWN = [(str(_each["path"]), str(_each["sha256"])) for _each in _KIT["files"] if _each["path"].startswith("installer/")]
except (OSError, ValueError, KeyError, TypeError):
    sys.stderr.write("error: The kit is damaged: kit.json is missing, or cannot be understood.\n" + AGAIN)
    sys.exit(1)

_THIS = str(sys.version_info[0]) + "." + str(sys.version_info[1])
_NEEDED = " or ".join([", ".join(_PYTHONS[:-1]), _PYTHONS[-1]] if _PYTHONS[1:] else _PYTHONS)
if _THIS not in _PYTHONS:
    sys.stderr.write("error: This kit needs Python " + _NEEDED + "; " + sys.executable + " is " + _THIS + ".\n")
    sys.stderr.write("hint: Install one of these, or name one that is not on the PATH: ./install --python FILE\n")
    sys.exit(1)

if sys.argv[1:] != ["--fits"]:
    for _path, _sha256 in _OWN:
        _there = os.path.join(HERE, *_path.split("/"))  # noqa: PTH118 - likewise
        with open(_there if os.path.exists(_there) else os.devnull, "rb") as _file:  # noqa: PTH110, PTH123 - likewise
            if hashlib.sha256(_file.read()).hexdigest() != _sha256:
                sys.stderr.write("error: The kit is damaged: " + _path + " is missing, or not what it was.\n" + AGAIN)
                sys.exit(1)
    sys.dont_write_bytecode = True  # the kit may be read-only, and stays as it was made
    sys.path.insert(0, HERE)
    sys.exit(importlib.import_module("installer.run").main(HERE, sys.argv[1:]))
