"""What a kit's `install` starts: it asks whether this Python is one that the kit is for, in words that every Python understands."""

import importlib
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - Python 2 has no pathlib
with open(os.path.join(HERE, "kit.json"), "rb") as _file:  # noqa: PTH118, PTH123 - likewise
    _PYTHONS = [str(_version) for _version in json.loads(_file.read().decode("utf-8"))["pythons"]]
_THIS = str(sys.version_info[0]) + "." + str(sys.version_info[1])
_NEEDED = " or ".join([", ".join(_PYTHONS[:-1]), _PYTHONS[-1]] if _PYTHONS[1:] else _PYTHONS)

if _THIS not in _PYTHONS:
    sys.stderr.write("error: This kit needs Python " + _NEEDED + "; " + sys.executable + " is " + _THIS + ".\n")
    sys.stderr.write("hint: Install one of these, or name one that is not on the PATH: ./install --python FILE\n")
    sys.exit(1)
if sys.argv[1:] != ["--fits"]:
    sys.dont_write_bytecode = True  # the kit may be read-only, and stays as it was made
    sys.path.insert(0, HERE)
    sys.exit(importlib.import_module("installer.run").main(HERE, sys.argv[1:]))
