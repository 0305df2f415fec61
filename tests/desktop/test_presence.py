from __future__ import annotations

from qwq_local.desktop.presence import SLEEP_SECONDS, UNSEEN_SECONDS, Presence


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def is_lost_after(presence: Presence, clock: Clock, seconds: float, *, is_busy: bool = False) -> bool:
    """Looked at every second, until it is lost or so much time has passed."""
    ends_at = clock.now + seconds
    while clock.now < ends_at:
        clock.now += 1
        if presence.is_lost(is_busy=is_busy):
            return True
    return False


def test_a_page_that_asks_once_a_minute_is_open() -> None:
    clock = Clock()
    presence = Presence(clock)
    for _ in range(60):
        assert not is_lost_after(presence, clock, 60)
        presence.visited()
    assert is_lost_after(presence, clock, UNSEEN_SECONDS + 2)


def test_nothing_ends_while_an_answer_is_written() -> None:
    clock = Clock()
    presence = Presence(clock)
    assert not is_lost_after(presence, clock, 10 * UNSEEN_SECONDS, is_busy=True)
    assert not is_lost_after(presence, clock, UNSEEN_SECONDS - 1)
    assert is_lost_after(presence, clock, 3)


def test_a_machine_that_slept_gives_the_page_its_time_again() -> None:
    clock = Clock()
    presence = Presence(clock)
    clock.now += max(SLEEP_SECONDS, UNSEEN_SECONDS) + 1
    assert not presence.is_lost(is_busy=False)
    assert not is_lost_after(presence, clock, UNSEEN_SECONDS - 1)
    assert is_lost_after(presence, clock, 3)
