"""Speculation in a world where what a step costs and how often guesses are right is known: never slower, and faster where it can be."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import pytest

from qwq_local.backend import Backend, BatchToken, Draw, Sampler
from qwq_local.errors import DecodeError
from qwq_local.speculation import Speculator
from qwq_local.speculation.widths import LEAST_GAIN
from tests.fakes import FakeBackend, FakeVocabulary

ROOM, N_PROMPT, N_WRITTEN = 15, 400, 2000


@dataclass
class Text:
    """A text that is written token by token as `whole` has it."""

    id: int
    whole: Sequence[int]
    sequence: int | None = 0
    tokens: list[int] = field(default_factory=list)

    @property
    def n_guessable(self) -> int:
        return max(0, len(self.whole) - len(self.tokens) - 1)

    def sampler_for(self, draft: Backend) -> Sampler:
        assert isinstance(draft, WorldDraft), "it is one of this world"
        return Dice(draft, self)


class World:
    """A machine on which a step of `width` tokens takes `cost(width)` seconds, give or take some."""

    def __init__(self, cost: Callable[[int], float], draft: WorldDraft | None = None, seed: int = 1) -> None:
        self.now = 0.0
        self._cost, self._rng = cost, random.Random(seed)
        if draft:
            draft.world = self
        self.speculator = Speculator(draft, 16, lambda: self.now)
        self.speculator.note_step(N_PROMPT, N_PROMPT * (cost(16) - cost(8)) / 8, reads_prompts=True)

    def write(self, *texts: Text) -> float:
        """Write texts to their ends; returns how many times faster that was than a token at each step."""
        plain, began_at = 0.0, self.now
        while writing := [text for text in texts if len(text.tokens) < len(text.whole)]:
            guesses = self.speculator.guess(writing, ROOM)
            width = len(writing) + sum(map(len, guesses.values()))
            seconds = self._cost(width) * self._rng.lognormvariate(0, 0.05)
            self.now += seconds
            self.speculator.note_step(width, seconds, reads_prompts=False)
            for text in writing:
                self._advance(text, guesses.get(text.id, []))
        for text in texts:
            self.speculator.end(text)
        lengths = sorted(len(text.whole) - N_PROMPT for text in texts)
        for i, length in enumerate(lengths):
            plain += (length - (lengths[i - 1] if i else 0)) * self._cost(len(texts) - i)
        return plain / (self.now - began_at)

    def _advance(self, text: Text, guesses: list[int]) -> None:
        n_right, start = 0, len(text.tokens)
        while n_right < len(guesses) and guesses[n_right] == text.whole[start + n_right]:
            n_right += 1
        if guesses:
            self.speculator.note_guesses(text, len(guesses), n_right)
        text.tokens.extend(text.whole[start : start + n_right + 1])


class WideVocabulary(FakeVocabulary):
    """One that knows the tokens of this world."""

    n_tokens = 200_000


class WorldDraft(FakeBackend):
    """A draft model whose guesses are right with a probability, and that takes `seconds` for each decode."""

    def __init__(self, chance: float, seconds: float, n_sequences: int = 1, faults: Mapping[int, Exception] = MappingProxyType({})) -> None:
        super().__init__(n_ctx=10_000, n_batch=512, n_sequences=n_sequences, n_cells=20_000, faults=faults)
        self.world: World | None = None
        self.vocabulary = WideVocabulary()
        self.chance, self.rng = chance, random.Random(2)
        self._seconds = seconds

    def decode(self, batch: Sequence[BatchToken]) -> None:
        assert self.world, "it belongs to one"
        self.world.now += self._seconds
        super().decode(batch)


class Dice:
    """Draws what a text goes on with, or something else."""

    def __init__(self, draft: WorldDraft, text: Text) -> None:
        self._draft, self._coming = draft, iter(text.whole[len(text.tokens) :])

    def sample(self, batch_index: int) -> Draw:
        self._draft.take_logits(batch_index)
        token = next(self._coming)
        return Draw(token if self._draft.rng.random() < self._draft.chance else token + 1)

    def accept(self, token: int) -> None:
        raise AssertionError(f"guesses are drawn only, and {token} was put there")

    def begin_answer(self) -> None:
        raise AssertionError("guesses are drawn only")

    def close(self) -> None:
        pass


def linear(more: float) -> Callable[[int], float]:
    return lambda width: 1 + (width - 1) * more


def random_tokens(n: int, seed: int, n_vocab: int = 100_000) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(n_vocab) for _ in range(n)]


def text_of(whole: list[int], number: int = 0) -> Text:
    return Text(number, whole, number, whole[:N_PROMPT])


def copying(share_wrong: float, seed: int = 3) -> Text:
    """A prompt that is written again and again, but for some tokens."""
    prompt, rng = random_tokens(N_PROMPT, seed), random.Random(seed)
    written = [rng.randrange(100_000) if rng.random() < share_wrong else prompt[i % N_PROMPT] for i in range(N_WRITTEN)]
    return text_of([*prompt, *written])


COSTS = pytest.mark.parametrize("more", [0.0, 0.05, 0.2, 0.5, 1.0])


@COSTS
@pytest.mark.parametrize("n_vocab", [100_000, 12])
def test_random_text_is_not_slower(more: float, n_vocab: int) -> None:
    assert World(linear(more)).write(text_of(random_tokens(N_PROMPT + N_WRITTEN, 5, n_vocab))) > 0.985


@COSTS
@pytest.mark.parametrize("share_wrong", [0.0, 0.1, 0.3])
def test_copies_are_faster_where_that_can_be_and_never_slower(more: float, share_wrong: float) -> None:
    gain = World(linear(more)).write(copying(share_wrong))
    assert gain > 0.985
    chance = 1 - share_wrong
    possible = max(sum(chance**i for i in range(n + 1)) / linear(more)(n + 1) for n in range(ROOM + 1))
    assert gain > 0.98 + 0.6 * (possible - 1) or possible < LEAST_GAIN + 0.05, f"{possible:.2f} is possible"


def test_another_chats_text_is_copied_as_well() -> None:
    world, answer = World(linear(0.1)), random_tokens(1000, 7)
    first = world.write(text_of([*random_tokens(N_PROMPT, 8), *answer], 0))
    second = world.write(text_of([*random_tokens(N_PROMPT, 9), *answer], 1))
    assert first < 1.05
    assert second > 3


@pytest.mark.parametrize("more", [0.05, 0.3])
def test_several_texts_share_the_room(more: float) -> None:
    world = World(linear(more))
    gain = world.write(*(text_of([*(prompt := random_tokens(N_PROMPT, seed)), *prompt, *prompt], seed) for seed in range(4)))
    possible = max((4 + n) / 4 * linear(more)(4) / linear(more)(4 + n) for n in range(ROOM + 1))
    assert gain > 1 + 0.75 * (possible - 1)


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.3, 2.0])
@pytest.mark.parametrize("chance", [0.0, 0.6, 0.9, 1.0])
@pytest.mark.parametrize("more", [0.05, 0.5, 1.0])
def test_a_draft_model_is_asked_where_that_pays_and_never_makes_it_slower(more: float, chance: float, seconds: float) -> None:
    gain = World(linear(more), WorldDraft(chance, seconds)).write(text_of(random_tokens(N_PROMPT + N_WRITTEN, 5)))
    assert gain > 0.98
    possible = max(sum(chance**i for i in range(n + 1)) / (linear(more)(n + 1) + n * seconds) for n in range(ROOM + 1))
    assert gain > 0.95 + 0.6 * (possible - 1), f"{possible:.2f} is possible"


def test_a_draft_model_guesses_for_several_texts_at_once() -> None:
    world = World(linear(0.05), WorldDraft(1.0, 0.02, n_sequences=3))
    assert world.write(*(text_of(random_tokens(1000, seed), seed) for seed in range(3))) > 2


def test_a_text_that_comes_to_suit_the_draft_model_is_found_out() -> None:
    draft = WorldDraft(0.0, 0.1)
    world, text = World(linear(0.05), draft), text_of(random_tokens(N_PROMPT + 3000, 5))
    whole, text.whole = text.whole, text.whole[: N_PROMPT + 1000]
    assert world.write(text) < 1
    draft.chance = 1.0
    text.whole = whole
    assert world.write(text) > 1.3


def test_a_draft_model_that_fails_is_not_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    draft = WorldDraft(1.0, 0.1, faults={5: DecodeError("the card is gone")})
    assert World(linear(0.05), draft).write(text_of(random_tokens(N_PROMPT + 500, 5))) > 0.97
    assert len(draft.batches) == 5
    assert "The draft model is not asked any more: the card is gone" in caplog.text


def form(seed: int) -> list[int]:
    """Lines that begin alike and end otherwise each time: what an n-gram takes for a copy."""
    rng = random.Random(seed)
    head = random_tokens(4, seed)
    return [token for _ in range(8) for token in (*head, *(rng.randrange(10) for _ in range(3)))]


@pytest.mark.parametrize("more", [0.1, 0.25, 0.5])
def test_short_answers_that_look_like_copies_cost_nothing_among_answers_that_are(more: float) -> None:
    world, gains = World(linear(more)), []
    for seed in range(40):
        prompt = random_tokens(N_PROMPT, 1000 + seed)
        world.write(text_of([*prompt, *prompt[:150]], 2 * seed))
        gains.append(world.write(text_of([*random_tokens(N_PROMPT, 2000 + seed), *form(seed)], 2 * seed + 1)))
    assert sum(gains) / len(gains) > 0.985
