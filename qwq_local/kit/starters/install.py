"""What a kit's `install` starts: it asks whether this Python is one that the kit is for, in words that every Python understands.

Then it compares the installer's own files with their hashes, and runs what it compared: no other file of the kit's folder.
"""

# mypy: allow-untyped-defs, allow-untyped-calls
# ruff: noqa: ANN001, ANN202, ANN204 - Python 2 knows no annotations

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - Python 2 has no pathlib
sys.path[:] = [_each for _each in sys.path if os.path.realpath(_each) != os.path.realpath(HERE)]  # a stray json.py is none

import hashlib  # noqa: E402 - not from HERE
import importlib  # noqa: E402 - likewise
import json  # noqa: E402 - likewise

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


class _Installer(object):  # noqa: UP004 - Python 2 would make another kind of class
    """Gives Python the installer's modules, from the bytes that were compared with their hashes."""

    def __init__(self, sources):
        self._sources = sources

    def find_spec(self, name, path=None, target=None):  # noqa: ARG002 - what Python asks
        """The module of a name, or nothing."""
        is_package = name == "installer"
        _inside = "installer/__init__.py" if is_package else name.replace(".", "/") + ".py"
        if _inside not in self._sources:
            return None
        machinery = importlib.import_module("importlib.machinery")
        return machinery.ModuleSpec(name, self, origin=_inside, is_package=is_package)

    def create_module(self, spec):  # noqa: ARG002 - likewise
        """As Python makes it."""
        return None  # noqa: RET501 - said, as Python wants it

    def exec_module(self, module):
        """Run it."""
        _inside = module.__spec__.origin
        exec(compile(self._sources[_inside], os.path.join(HERE, _inside), "exec", 0, True), module.__dict__)  # noqa: S102, PTH118 - it was compared


if sys.argv[1:] != ["--fits"]:
    _SOURCES = {}
    for _path, _sha256 in _OWN:
        _there = os.path.join(HERE, *_path.split("/"))  # noqa: PTH118 - likewise
        with open(_there if os.path.exists(_there) else os.devnull, "rb") as _file:  # noqa: PTH110, PTH123 - likewise
            _SOURCES[_path] = _file.read()
        if hashlib.sha256(_SOURCES[_path]).hexdigest() != _sha256:
            sys.stderr.write("error: The kit is damaged: " + _path + " is missing, or not what it was.\n" + AGAIN)
            sys.exit(1)
    sys.dont_write_bytecode = True  # the kit may be read-only, and stays as it was made
    sys.meta_path.insert(0, _Installer(_SOURCES))
    sys.exit(importlib.import_module("installer.run").main(HERE, sys.argv[1:]))
