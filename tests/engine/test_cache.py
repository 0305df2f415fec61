"""The KV cache's books: no prefix is read twice, no cell is counted twice, and nothing is held that nobody can find."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from qwq_local.backend import BatchToken, Rope
from qwq_local.engine.cache import KvCache
from qwq_local.engine.prefix import SavedPrefix
from qwq_local.engine.shelf import PrefixShelf, _content
from qwq_local.errors import DecodeError
from qwq_local.speculation.alike import common_prefix
from tests.fakes import FakeBackend

N_CELLS = 120


def read(cache: KvCache, backend: FakeBackend, tokens: Sequence[int]) -> tuple[int, int]:
    """A sequence that holds all of `tokens`, and how many of them it was spared to read."""
    sequence, n_held = cache.open(tokens)
    assert cache.make_room(len(tokens) - n_held)
    rest = tokens[n_held:]
    for start in range(0, len(rest), backend.n_batch):
        piece = rest[start : start + backend.n_batch]
        cache.decode([BatchToken(token, n_held + start + i, sequence, wants_logits=False) for i, token in enumerate(piece)])
    assert backend.sequences[sequence] == list(tokens)
    return sequence, n_held


@given(st.lists(st.integers(0, 1), max_size=600), st.lists(st.integers(0, 1), max_size=600), st.integers(0, 600))
def test_the_common_prefix_is_the_longest(a: list[int], b: list[int], n_shared: int) -> None:
    b = a[:n_shared] + b
    n = common_prefix(a, tuple(b))
    assert a[:n] == b[:n]
    assert n == min(len(a), len(b)) or a[n] != b[n]


class Books(RuleBasedStateMachine):
    """Any order of opening, retiring and switching; the backend audits what is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.backend = FakeBackend(n_ctx=40, n_batch=100, n_sequences=4, n_cells=N_CELLS)
        self.cache = KvCache(self.backend, spill_bytes=1500)
        self.live: dict[int, list[int]] = {}

    @precondition(lambda self: self.cache.has_sequence)
    @rule(tokens=st.lists(st.integers(0, 1), min_size=1, max_size=40), long=st.booleans())
    def open(self, tokens: list[int], long: bool) -> None:
        tokens = [*([7] * 34 if long else []), *tokens][:40]
        if len(tokens) > self.cache.n_available:
            return
        sequence, n_held = read(self.cache, self.backend, tokens)
        assert n_held < len(tokens)
        assert sequence not in self.live
        self.live[sequence] = tokens

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def retire(self, data: st.DataObject) -> None:
        sequence = data.draw(st.sampled_from(sorted(self.live)))
        kept = data.draw(st.none() | st.integers(0, len(self.live[sequence])))
        del self.live[sequence]
        self.cache.retire(sequence, kept)

    @precondition(lambda self: not self.live)
    @rule(rope=st.sampled_from(["native", "yarn"]))
    def switch(self, rope: Rope) -> None:
        self.cache.use_rope(rope)

    @rule(n_cells=st.integers(0, N_CELLS))
    def make_room(self, n_cells: int) -> None:
        assert self.cache.make_room(n_cells) == (self.cache.n_free >= n_cells)

    @invariant()
    def the_books_agree_with_the_backend(self) -> None:
        assert self.cache.n_used == self.backend.used_cells
        live = {cell for sequence in self.live for cell in self.backend.cells[sequence]}
        assert self.cache.n_available == N_CELLS - len(live)
        for sequence, tokens in self.live.items():
            assert self.backend.sequences[sequence] == tokens
        assert self.backend.violations == []
        self.cache.audit()


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=300, stateful_step_count=30)


def cache_of(**sizes: int) -> tuple[KvCache, FakeBackend]:
    spill_bytes = sizes.pop("spill_bytes", 0)
    backend = FakeBackend(**{"n_ctx": 64, "n_batch": 64, "n_sequences": 4, **sizes})  # type: ignore[arg-type]
    return KvCache(backend, spill_bytes), backend


CHAT = list(range(40))


def test_a_prefix_is_shared_with_a_live_sequence_in_the_same_cells() -> None:
    cache, backend = cache_of()
    read(cache, backend, CHAT)
    assert read(cache, backend, [*CHAT[:30], 99])[1] == 30
    assert cache.n_used == 41


def test_an_idle_sequence_that_is_all_prefix_is_continued_in_place() -> None:
    cache, backend = cache_of()
    first, _ = read(cache, backend, CHAT)
    cache.retire(first)
    assert read(cache, backend, [*CHAT, 99]) == (first, 40)
    assert cache.n_used == 41


@pytest.mark.parametrize(("n_new", "n_read"), [(1, 1), (7, 7), (8, 64), (40, 64), (63, 64), (64, 64), (100, 100)])
def test_behind_a_long_prefix_no_batch_is_read_that_is_slower_than_a_larger_one(n_new: int, n_read: int) -> None:
    cache, backend = cache_of(n_ctx=4000, n_batch=4000)
    chat = [i % 251 for i in range(1500)]
    cache.retire(read(cache, backend, chat)[0])
    _, n_held = read(cache, backend, [*chat, *[255] * n_new])
    assert 1500 + n_new - n_held == n_read
    assert cache.n_used == 1500 + n_new, "nothing stands twice"


def test_the_last_token_is_always_read_anew_for_its_logits() -> None:
    cache, backend = cache_of()
    cache.retire(read(cache, backend, CHAT)[0])
    assert read(cache, backend, CHAT)[1] == 39


def test_the_least_lately_used_goes_first_and_comes_back_from_host_memory() -> None:
    cache, backend = cache_of(n_cells=80, spill_bytes=10_000)
    for start in (0, 100):
        cache.retire(read(cache, backend, [start + i for i in range(40)])[0])
    third = read(cache, backend, [200 + i for i in range(40)])
    assert third[1] == 0
    cache.retire(third[0])
    assert read(cache, backend, [*range(40)])[1] == 39


def test_without_a_budget_what_goes_is_gone() -> None:
    cache, backend = cache_of(n_cells=40)
    cache.retire(read(cache, backend, CHAT)[0])
    cache.retire(read(cache, backend, [9, *CHAT[1:]])[0])
    assert read(cache, backend, CHAT)[1] == 0


def test_a_state_of_the_other_scaling_is_not_used() -> None:
    cache, backend = cache_of(spill_bytes=10_000)
    cache.retire(read(cache, backend, CHAT)[0])
    cache.use_rope("yarn")
    sequence, n_held = read(cache, backend, CHAT)
    assert n_held == 0
    cache.retire(sequence, 0)
    cache.use_rope("native")
    assert read(cache, backend, CHAT)[1] == 39


def test_a_prefix_of_what_stands_elsewhere_is_dropped() -> None:
    cache, backend = cache_of()
    long, _ = read(cache, backend, CHAT)
    short, _ = read(cache, backend, CHAT[:20])
    cache.retire(short)
    assert backend.sequences[short] == []
    cache.retire(long)
    assert backend.sequences[long] == CHAT


def test_what_an_earlier_life_read_is_found_again(tmp_path: Path) -> None:
    cache, backend = cache_of()
    cache.retire(read(cache, backend, CHAT)[0])
    shelf = PrefixShelf(tmp_path / "shelf", 10_000)
    shelf.write(cache.saved(shelf.most_bytes))

    later, another = cache_of(spill_bytes=10_000)
    another._saved = backend._saved
    later.take(shelf.read(10_000))
    assert read(later, another, [*CHAT, 5])[1] == 40


PREFIXES = st.builds(
    SavedPrefix, st.sampled_from(["native", "yarn"]), st.lists(st.integers(0, 2**31 - 1), min_size=1).map(tuple), st.binary(max_size=50)
)


@given(prefixes=st.lists(PREFIXES, unique_by=lambda prefix: (prefix.rope, prefix.tokens), max_size=4))
def test_the_shelf_gives_what_it_was_given(prefixes: list[SavedPrefix], tmp_path_factory: pytest.TempPathFactory) -> None:
    shelf = PrefixShelf(tmp_path_factory.mktemp("shelf"), 10_000)
    shelf.write(prefixes)
    assert sorted(shelf.read(10_000), key=repr) == sorted(prefixes, key=repr)


@given(prefix=PREFIXES, data=st.data())
def test_a_damaged_file_is_no_prefix_and_goes(prefix: SavedPrefix, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    shelf = PrefixShelf(tmp_path_factory.mktemp("shelf"), 10_000)
    shelf.write([prefix])
    (path,) = shelf.folder.iterdir()
    content = path.read_bytes()
    at = data.draw(st.integers(0, len(content) - 1))
    damaged = data.draw(st.sampled_from([content[:at], content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :], content + b"x"]))
    path.write_bytes(damaged)
    assert shelf.read(10_000) == []
    assert list(shelf.folder.iterdir()) == []


def test_a_damaged_count_of_tokens_makes_no_other_prefix(tmp_path: Path) -> None:
    shelf = PrefixShelf(tmp_path, 10_000)
    shelf.write([SavedPrefix("native", (1, 2), bytes(16))])
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes().replace(b'"tokens": 2', b'"tokens": 3'))
    assert shelf.read(10_000) == []


def test_a_file_whose_writing_was_cut_short_costs_its_prefix_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = PrefixShelf(tmp_path, 10_000)
    whole, cut = (SavedPrefix("native", (i,), bytes(1_000)) for i in range(2))
    shelf.write([whole])

    def content(prefix: SavedPrefix) -> Iterator[bytes]:
        yield from (line[:500] for line in _content(prefix))
        raise OSError("no space left")

    monkeypatch.setattr("qwq_local.engine.shelf._content", content)
    with pytest.raises(OSError, match="no space left"):
        shelf.write([cut])
    assert shelf.read(10_000) == [whole]
    assert len(list(tmp_path.iterdir())) == 1, "nothing is left of it"


def test_the_shelf_lets_the_oldest_go_and_no_other(tmp_path: Path) -> None:
    shelf = PrefixShelf(tmp_path, 3_000)
    old, *new = (SavedPrefix("native", (i, i), bytes(1_000)) for i in range(4))
    shelf.write([old])
    shelf.write(new[:1])
    assert shelf.read(10_000) == [new[0], old]
    shelf.write(new[1:])
    assert old not in shelf.read(10_000)
    assert shelf.read(1_500) == shelf.read(10_000)[:1] == new[1:2]


@pytest.mark.parametrize(
    "damage",
    [
        lambda cache: cache._free.pop(),
        lambda cache: cache._live.update(cache._idle),
        lambda cache: cache._idle.clear(),
        lambda cache: cache._sharers.clear(),
        lambda cache: setattr(cache, "_n_used", 0),
        lambda cache: next(iter(cache._idle.values())).tokens.pop(),
        lambda cache: setattr(cache._spill, "_most_bytes", 10),
    ],
)
def test_books_that_do_not_agree_are_noticed(damage: Callable[[KvCache], object]) -> None:
    cache, backend = cache_of(n_cells=80, spill_bytes=10_000)
    for tokens in ([200, *CHAT], CHAT, [*CHAT[:20], 99]):
        cache.retire(read(cache, backend, tokens)[0])
    cache.make_room(20)
    cache.audit()
    damage(cache)
    with pytest.raises(AssertionError):
        cache.audit()


def test_another_chat_does_not_use_up_what_was_spilled() -> None:
    cache, backend = cache_of(n_ctx=400, n_batch=400, spill_bytes=100_000)
    chat, other = [*range(150)], [*range(50), 200, 201]
    cache.retire(read(cache, backend, chat)[0])
    for rope in ("yarn", "native"):
        cache.use_rope(rope)
    assert read(cache, backend, other)[1] == 50
    assert read(cache, backend, [*chat, 7])[1] == 150


@pytest.mark.parametrize("error", [DecodeError("nothing was saved"), MemoryError()])
def test_what_cannot_be_saved_is_read_again(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> bytes:
        raise error

    cache, backend = cache_of(n_cells=40, spill_bytes=10_000)
    monkeypatch.setattr(backend, "save", fail)
    cache.retire(read(cache, backend, CHAT)[0])
    assert list(cache.saved(10_000)) == []
    cache.retire(read(cache, backend, [9, *CHAT[1:]])[0])
    assert read(cache, backend, CHAT)[1] == 0


@pytest.mark.parametrize("error", [DecodeError("another kind"), MemoryError()])
def test_what_cannot_be_restored_is_read_again_and_forgotten(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, backend = cache_of(spill_bytes=10_000)
    cache.take([SavedPrefix("native", tuple(CHAT), b"worthless")])
    tries: list[int] = []

    def fail(sequence: int, _: bytes) -> None:
        tries.append(sequence)
        raise error

    monkeypatch.setattr(backend, "restore", fail)
    cache.retire(read(cache, backend, CHAT)[0], 0)
    assert read(cache, backend, CHAT)[1] == 0
    assert len(tries) == 1


def test_a_few_common_tokens_bring_nothing_back() -> None:
    cache, backend = cache_of(n_ctx=400, n_batch=400, spill_bytes=100_000)
    cache.retire(read(cache, backend, [*range(150)])[0])
    cache.use_rope("yarn")
    cache.use_rope("native")
    assert read(cache, backend, [0, 1, 2, 200])[1] == 0
    assert cache.n_used == 4


def test_one_state_too_large_for_the_budget_pushes_no_other_out() -> None:
    cache, backend = cache_of(n_ctx=400, n_batch=400, n_cells=400, spill_bytes=500)
    for tokens in ([*range(40)], [200, *range(300)]):
        cache.retire(read(cache, backend, tokens)[0])
    cache.make_room(400)
    assert read(cache, backend, [*range(40), 7])[1] == 40


def test_a_spilled_prefix_that_has_no_room_costs_no_other_its_place() -> None:
    cache, backend = cache_of(n_ctx=200, n_batch=200, n_cells=200, spill_bytes=100_000)
    cache.take([SavedPrefix("native", tuple(range(190)), b"never restored")])
    read(cache, backend, [200] * 100)
    cache.retire(read(cache, backend, [*range(20)])[0])
    assert read(cache, backend, [*range(72)])[1] == 20


def test_a_shelf_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert PrefixShelf(tmp_path / "none", 10).read(10) == []


def test_no_more_is_saved_than_there_is_room_for() -> None:
    cache, backend = cache_of()
    for start in (0, 100):
        cache.retire(read(cache, backend, [start + i for i in range(40)])[0])
    (newest,) = cache.saved(len(next(iter(cache.saved(10_000))).state))
    assert newest.tokens[0] == 100
