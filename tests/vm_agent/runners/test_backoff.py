from __future__ import annotations

from vm_agent.runners.backoff import CALM, FREE, LONGEST, Backoff


def test_a_death_now_and_then_costs_no_time() -> None:
    backoff = Backoff()
    assert [backoff.died(now) for now in (0.0, 20.0, 40.0, 60.0, 80.0)] == [0.0] * 5


def test_several_deaths_in_a_short_time_are_followed_by_pauses_that_grow_up_to_a_limit() -> None:
    backoff, now, delays = Backoff(), 0.0, []
    for _ in range(FREE + 8):
        delays.append(backoff.died(now))
        now += delays[-1]
    assert delays == [0.0] * FREE + [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, LONGEST, LONGEST]


def test_it_never_gives_up_and_forgets_after_a_calm_time() -> None:
    backoff, now = Backoff(), 0.0
    for _ in range(1000):
        now += backoff.died(now)
    assert backoff.died(now) == LONGEST
    assert backoff.died(now + LONGEST + 1) == LONGEST
    assert backoff.died(now + LONGEST + 2 + CALM) == 0.0
