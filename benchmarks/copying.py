"""Texts to be written that repeat what stands before them, and texts that do not: what guesses from n-grams are worth depends on it.

No model here is large enough to copy when it is told to. So the answers are given beforehand, token by token, as a grammar that leaves no
choice: the model is asked at every token all the same, and takes as long as if it had chosen.
"""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import qwq_local
from benchmarks.deep_nano import LEARNED
from benchmarks.guessing import prompts_of, tokens_of
from tests.nano.tasks import draw

PAGES: Final = Path(__file__).parents[1]
PACKAGE: Final = Path(qwq_local.__file__).parent
N_CHARACTERS: Final = range(250, 400)
"""Of a piece of text that is copied; nano has little more than one token for each."""


@dataclass(frozen=True)
class Case:
    """A prompt, and the answer that is due; None leaves it to the model. Both are token ids."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...] | None = None


def edit(rng: random.Random) -> tuple[str, str]:
    """A function of this project, and the same with another name and a line more."""
    source = rng.choice(functions())
    name = source.partition("(")[0].split()[-1]
    head, *rest = re.sub(rf"\b{name}\b", word(rng), source).splitlines(keepends=True)
    at = rng.randrange(len(rest) + 1)
    return f"Rename it and add a line:\n{source}\n", "".join([head, *rest[:at], f"    # {words(rng, 3)}\n", *rest[at:]])


def quote(rng: random.Random) -> tuple[str, str]:
    """A paragraph of this project's pages, and a text that quotes its sentences one by one."""
    paragraph = rng.choice(paragraphs())
    sentences = re.findall(r"[^.:;]+[.:;]", paragraph)
    return f"{paragraph}\nWhat does it say?\n", "\n".join(f'{words(rng, 2)} "{sentence.strip()}"' for sentence in sentences)


def random_words(rng: random.Random) -> tuple[str, str]:
    """Nothing that stands anywhere before."""
    return words(rng, 20), words(rng, 30)


@cache
def functions() -> tuple[str, ...]:
    """The functions of this package that are neither short nor long, as they stand there."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text("utf-8")
        for node in ast.parse(text).body:
            source = ast.get_source_segment(text, node) or ""
            if isinstance(node, ast.FunctionDef) and not node.decorator_list and len(source) in N_CHARACTERS and source.isascii():
                found.append(source)
    return tuple(found)


@cache
def paragraphs() -> tuple[str, ...]:
    """The paragraphs and points of this project's pages that are neither short nor long."""
    found = []
    for path in sorted(PAGES.glob("*.md")):
        for paragraph in re.split(r"\n- |\n\n", path.read_text("utf-8")):
            text = " ".join(paragraph.replace("*", "").split())
            if len(text) in N_CHARACTERS and text.isascii():
                found.append(text)
    return tuple(found)


def word(rng: random.Random) -> str:
    """Letters at random."""
    return "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(3, 9)))


def words(rng: random.Random, n: int) -> str:
    """Several of them."""
    return " ".join(word(rng) for _ in range(n))


GIVEN: Final[Mapping[str, Callable[[random.Random], tuple[str, str]]]] = {"code edit": edit, "quoting": quote, "random words": random_words}
OWN: Final = "nano's tasks"
TASKS: Final = (*GIVEN, OWN)


def cases(task: str, n: int, seed: int) -> list[Case]:
    """So many of a task, other ones for each seed."""
    rng = random.Random(f"{task} {seed}")
    if task == OWN:
        return [Case(prompt) for prompt in prompts_of([draw(rng, LEARNED) for _ in range(n)])]
    texts = [GIVEN[task](rng) for _ in range(n)]
    prompts, answers = (tokens_of(column) for column in zip(*texts, strict=True))
    return [Case(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
