"""Where the tests and the package that they test are: in one tree, or the package installed elsewhere (packaging/proofs/wheel.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

import qwq_local

ROOT: Final = Path(__file__).parents[1]
"""The tree of the tests, with documents and recipes."""
PACKAGE: Final = Path(qwq_local.__file__).parent
"""The package under test."""
in_the_source_tree: Final = pytest.mark.skipif(PACKAGE.parent != ROOT, reason="needs the source tree: the package is installed elsewhere")
