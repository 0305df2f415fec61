"""The tree of errors: every one of them crosses from process to process as it is."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from qwq_local import errors
from qwq_local.errors import ContextLengthError, HubError, QwqError

CUSTOM: dict[type[QwqError], QwqError] = {
    ContextLengthError: ContextLengthError(1234, 512, 2048),
    HubError: HubError("busy", hint="Wait.", is_passing=True, retry_after_seconds=2.5),
}
"""Those that are made in another way than by a message and a hint."""


def tree(root: type[QwqError] = QwqError) -> list[type[QwqError]]:
    return [root, *(error for child in root.__subclasses__() for error in tree(child))]


def example(kind: type[QwqError]) -> QwqError:
    return CUSTOM[kind] if kind in CUSTOM else kind("what happened", hint="what to do")


def pickled(error: QwqError) -> Any:
    return pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes


@pytest.mark.parametrize("kind", tree(), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("crossed", [pickled, copy.copy])
def test_an_error_arrives_as_it_was(kind: type[QwqError], crossed: Any) -> None:
    error = example(kind)
    arrived = crossed(error)
    assert type(arrived) is kind
    assert (str(arrived), arrived.args, vars(arrived)) == (str(error), error.args, vars(error))
    assert arrived.hint


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    assert errors.__doc__ is not None
    drawn = [line.strip(" │├└─").split()[0] for line in errors.__doc__.splitlines() if "Error" in line and line.startswith("    ")]
    assert sorted(drawn) == sorted(kind.__name__ for kind in tree())
