from __future__ import annotations

from qwq_local.desktop.presence import HAND_OVER_SECONDS, NEW_PAGE_SECONDS, SLEEP_SECONDS, UNSEEN_SECONDS, Presence


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


def opened(clock: Clock, *, seconds_ago: float, is_elsewhere: bool = False) -> Presence:
    presence = Presence(clock)
    presence.opened(is_elsewhere=is_elsewhere)
    assert not is_lost_after(presence, clock, seconds_ago)
    return presence


def test_a_window_that_was_open_for_long_has_closed_with_its_browser_even_while_an_answer_is_written() -> None:
    for is_busy in (False, True):
        presence = opened(Clock(), seconds_ago=HAND_OVER_SECONDS + 1)
        presence.closed()
        assert presence.is_lost(is_busy=is_busy)


def test_a_window_that_is_closed_soon_is_not_waited_for_long() -> None:
    clock = Clock()
    presence = opened(clock, seconds_ago=1)
    presence.visited()
    presence.closed()
    clock.now += 1
    presence.visited()  # the answer to what it asked before
    assert not is_lost_after(presence, clock, NEW_PAGE_SECONDS - 2)
    presence.closed()  # as at each look
    assert is_lost_after(presence, clock, 2)


def test_a_page_that_was_given_to_another_browser_is_open_as_long_as_it_asks() -> None:
    clock = Clock()
    presence = opened(clock, seconds_ago=1)
    presence.closed()
    for _ in range(10):
        assert not is_lost_after(presence, clock, 10)
        presence.visited()
    assert not is_lost_after(presence, clock, UNSEEN_SECONDS - 1), "it may be hidden by now"
    assert is_lost_after(presence, clock, 2)


def test_a_window_elsewhere_outlives_the_first_one() -> None:
    clock = Clock()
    presence = opened(clock, seconds_ago=200, is_elsewhere=True)
    presence.closed()
    for _ in range(10):
        assert not is_lost_after(presence, clock, 60)
        presence.visited()
    assert is_lost_after(presence, clock, UNSEEN_SECONDS + 2)


def test_another_window_of_the_same_browser_closes_with_it() -> None:
    clock = Clock()
    presence = opened(clock, seconds_ago=60)
    presence.opened()
    assert not is_lost_after(presence, clock, HAND_OVER_SECONDS + 1)
    presence.closed()
    assert presence.is_lost(is_busy=False)


def test_a_window_that_is_opened_just_when_the_last_one_closes_is_heeded() -> None:
    clock = Clock()
    presence = opened(clock, seconds_ago=60)
    presence.closed()
    assert presence.is_lost(is_busy=False)
    presence.opened()
    assert not is_lost_after(presence, clock, UNSEEN_SECONDS - 1)
    assert is_lost_after(presence, clock, 2)
