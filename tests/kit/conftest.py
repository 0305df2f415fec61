"""The index of wheels that tests of kits take theirs from."""

from tests.kit.shelf import index

__all__ = ["index"]
