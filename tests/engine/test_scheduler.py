"""Who is read next: first come, first served; everyone's next token before anyone's prompt; the youngest makes room."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from qwq_local.backend import Rope
from qwq_local.engine.answer import Answer
from qwq_local.engine.cache import KvCache
from qwq_local.engine.request import Request
from qwq_local.engine.scheduler import RESERVE_CELLS, WORTH_WAITING_FOR, Job, Scheduler
from tests.fakes import FakeBackend

N_BATCH = 100


class Desk:
    """A scheduler with a backend that reads what it is given."""

    def __init__(self, *, n_cells: int = 1000, n_parallel: int = 4, n_sequences: int = 8) -> None:
        self.backend = FakeBackend(n_ctx=1000, n_batch=N_BATCH, n_sequences=n_sequences, n_cells=n_cells)
        self.cache = KvCache(self.backend)
        self.scheduler = Scheduler(self.cache, n_parallel)
        self.jobs: list[Job] = []

    def hand_in(self, *tokens: int, rope: Rope = "native") -> Job:
        job = Job(len(self.jobs), Request(tokens, 1000), Mock(Answer), 0.0, 1000, rope, list(tokens))
        self.jobs.append(job)
        self.scheduler.wait(job)
        return job

    def admit(self, rope: Rope = "native") -> list[int]:
        return [job.id for job in self.scheduler.admit(rope)]

    def read(self, n_batch: int = N_BATCH, n_prefill: int = N_BATCH) -> dict[int, int]:
        """How many tokens each job read; whoever has read all writes a token, as the engine has it draw."""
        tokens, shares, _ = self.scheduler.next_batch(n_batch, n_prefill)
        self.cache.decode(tokens)
        for share in shares:
            share.job.n_read += share.n_tokens
            assert (share.draws_at is not None) == (share.job.n_unread == 0)
            if share.draws_at is not None:
                assert tokens[share.draws_at].wants_logits
                self.backend.take_logits(share.draws_at)
                share.job.tokens.append(0)
        assert sum(token.wants_logits for token in tokens) == sum(share.draws_at is not None for share in shares)
        return {share.job.id: share.n_tokens for share in shares}


def test_all_that_fit_are_admitted_and_no_more_than_can_run_at_once() -> None:
    desk = Desk(n_parallel=2)
    for first in (1, 2, 3):
        desk.hand_in(first, 9)
    assert desk.admit() == [0, 1]
    assert desk.admit() == []
    desk.scheduler.release(desk.jobs[0])
    assert desk.admit() == [2]


def test_nobody_is_admitted_without_a_sequence() -> None:
    desk = Desk(n_sequences=1)
    desk.hand_in(1)
    desk.hand_in(2)
    assert desk.admit() == [0]


def test_the_oldest_that_waits_says_the_scaling_once_nothing_runs() -> None:
    desk = Desk()
    assert desk.scheduler.wanted_rope is None
    desk.hand_in(1, rope="yarn")
    desk.hand_in(2)
    assert desk.scheduler.wanted_rope == "yarn"
    assert desk.admit("native") == []
    assert desk.admit("yarn") == [0]
    assert desk.scheduler.wanted_rope is None


@pytest.mark.parametrize(("n_spare", "admitted"), [(0, [1, 2]), (-1, [])])
def test_who_does_not_fit_beside_those_that_run_waits_and_holds_up_those_behind(n_spare: int, admitted: list[int]) -> None:
    desk = Desk(n_cells=10 + 20 + 2 * RESERVE_CELLS + n_spare)
    desk.hand_in(*[1] * 10)
    assert desk.admit() == [0]
    assert desk.read() == {0: 10}
    desk.hand_in(*[2] * 20)
    desk.hand_in(3)
    assert desk.admit() == admitted


def test_what_a_prompt_shares_with_one_that_runs_needs_no_cells() -> None:
    desk = Desk(n_cells=60 + 1 + 2 * RESERVE_CELLS)
    desk.hand_in(*[1] * 60)
    desk.admit()
    desk.read()
    job = desk.hand_in(*[1] * 60)
    assert desk.admit() == [1]
    assert job.n_read == 59


def test_alone_even_the_longest_prompt_is_admitted() -> None:
    desk = Desk(n_cells=40)
    desk.hand_in(*[1] * 39)
    assert desk.admit() == [0]


def test_a_long_beginning_that_another_is_about_to_read_is_waited_for_and_a_shorter_one_is_not() -> None:
    desk = Desk()
    desk.hand_in(*[1] * WORTH_WAITING_FOR, 2, 3)
    waits = desk.hand_in(*[1] * WORTH_WAITING_FOR, 4)
    desk.hand_in(*[1] * (WORTH_WAITING_FOR - 1), 5)
    desk.hand_in(*[1] * WORTH_WAITING_FOR)  # the last token of a prompt is read anew, so that one fewer would be spared
    assert desk.admit() == [0, 2, 3]
    desk.read()
    assert desk.admit() == [1]
    assert waits.n_read == WORTH_WAITING_FOR


def test_what_has_been_read_of_a_beginning_already_is_not_waited_for() -> None:
    desk = Desk()
    desk.hand_in(*[1] * (N_BATCH + 10), 2)
    desk.admit()
    desk.read()
    job = desk.hand_in(*[1] * (N_BATCH + 10), 3)
    assert desk.admit() == [1]
    assert job.n_read == N_BATCH


def test_a_batch_is_shared_out_equally_and_nobody_gets_more_than_he_has() -> None:
    desk = Desk()
    desk.hand_in(*[1] * 200)
    desk.hand_in(*[2] * 10)
    desk.hand_in(*[3] * 200)
    assert desk.admit() == [0, 1, 2]
    assert desk.read() == {0: 45, 1: 10, 2: 45}
    assert desk.read() == {0: 49, 1: 1, 2: 50}


def test_a_prompt_is_read_in_full_batches_where_nobody_writes() -> None:
    desk = Desk()
    desk.hand_in(*[1] * 150)
    desk.admit()
    assert desk.read(n_prefill=10) == {0: 100}
    assert desk.read(n_prefill=10) == {0: 50}


def test_beside_someone_who_writes_only_so_much_of_prompts_is_read() -> None:
    desk = Desk()
    desk.hand_in(1)
    desk.hand_in(*[2] * 50)
    desk.admit()
    desk.read(n_batch=1)
    assert desk.read(n_prefill=10) == {1: 11, 0: 1}


def test_where_a_batch_is_too_small_for_all_who_waited_longest_is_served_first_and_then_the_oldest() -> None:
    desk = Desk()
    for first in range(3):
        desk.hand_in(first)
    desk.admit()
    assert [list(desk.read(n_batch=2)) for _ in range(3)] == [[0, 1], [2, 0], [1, 0]]


def test_the_youngest_is_set_aside_where_cells_run_out_and_comes_back_before_those_behind_it() -> None:
    desk = Desk(n_cells=60)
    for first in (1, 2):
        desk.hand_in(*[first] * 13)
    assert desk.admit() == [0, 1]
    while desk.scheduler.n_set_aside == 0:
        desk.read()
    assert list(desk.scheduler.running) == [0]
    assert desk.jobs[1].n_read == 0
    desk.hand_in(9)
    assert desk.scheduler.waiting == [desk.jobs[1], desk.jobs[2]]
    desk.scheduler.release(desk.jobs[0])
    assert desk.admit() == [1, 2]
    assert desk.scheduler.n_set_aside == 1


def test_who_is_set_aside_finds_again_what_it_had_read() -> None:
    desk = Desk()
    job = desk.hand_in(*[1] * 20)
    desk.admit()
    desk.read()
    desk.scheduler.set_aside(job)
    assert (job.n_read, desk.cache.n_used) == (0, 20)
    assert desk.admit() == [0]
    assert job.n_read == 20
    desk.scheduler.set_aside(job)
    assert desk.scheduler.n_set_aside == 2


def test_what_is_released_stays_findable_as_far_as_it_is_kept() -> None:
    desk = Desk()
    for kept_tokens, n_used in ((5, 5), (None, 20)):
        job = desk.hand_in(*[1] * 20)
        desk.admit()
        desk.read()
        desk.scheduler.release(job, kept_tokens)
        assert desk.cache.n_used == n_used
    assert desk.scheduler.running == {}


def test_idle_cells_make_way_for_a_prompt_but_no_more_of_them_than_it_needs() -> None:
    desk = Desk(n_cells=60)
    for first in (1, 2):
        desk.hand_in(*[first] * 20)
    desk.admit()
    desk.read()
    for job in desk.jobs[:2]:
        desk.scheduler.release(job)
    desk.hand_in(*[3] * 20)
    desk.admit()
    assert (desk.read(), desk.cache.n_used) == ({2: 20}, 60)
    desk.scheduler.release(desk.jobs[2])
    desk.hand_in(*[4] * 21)
    desk.admit()
    assert (desk.read(), desk.cache.n_used) == ({3: 21}, 41)


def test_prompts_get_no_more_than_the_cells_there_are() -> None:
    desk = Desk(n_cells=50 + 2 * RESERVE_CELLS)
    desk.hand_in(*[1] * 60)
    desk.hand_in(*[2] * 50)
    assert desk.admit() == [0, 1]
    assert sum(desk.read().values()) == desk.cache.n_used == desk.backend.n_cells


def test_nothing_is_remembered_of_who_has_left() -> None:
    desk = Desk()
    for last in (2, 3, 4):
        desk.hand_in(*[1] * 40, last)
    assert desk.admit() == [0]
    desk.scheduler.release(desk.jobs[0])
    assert desk.scheduler._alike == {}


def test_who_waits_can_be_released_and_nobody_else_is() -> None:
    desk = Desk()
    desk.hand_in(1)
    desk.hand_in(2)
    desk.scheduler.release(desk.jobs[0])
    assert desk.scheduler.waiting == [desk.jobs[1]]
