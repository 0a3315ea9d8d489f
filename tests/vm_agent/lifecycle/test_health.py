"""Whether a sidecar works, by its checks."""

from __future__ import annotations

from itertools import product

import pytest

from vm_agent.lifecycle.health import Health
from vm_agent.lifecycle.probe import Answer

YES = Answer(ready=True, reachable=True, text="/ready: 200")
NO = Answer(ready=False, reachable=True, text="/ready: 503: draining")
NOTHING = Answer(ready=False, reachable=False, text="/ready: no answer within 1 s")


def checked(*answers: Answer, failures: int = 3) -> Health:
    health = Health(failures)
    for answer in answers:
        health = health.after(answer)
    return health


def test_nothing_is_known_before_the_first_check() -> None:
    assert Health().word == "unknown"
    assert not Health(0).hangs


@pytest.mark.parametrize("answers", [*product((YES, NO, NOTHING), repeat=5)])
@pytest.mark.parametrize("failures", [0, 1, 2, 3, 5])
def test_it_hangs_when_the_last_ones_were_not_answered_and_at_no_other_time(
    answers: tuple[Answer, ...], failures: int
) -> None:
    """All that five checks can find."""
    health = checked(*answers, failures=failures)
    last = [one for one in answers[-max(failures, 1) :] if one is NOTHING]
    hangs = len(last) == max(failures, 1)
    assert health.hangs == hangs
    expected = "hangs" if hangs else {YES: "ready", NO: "not ready", NOTHING: "silent"}[answers[-1]]
    assert health.word == expected
    assert health.text == answers[-1].text
    assert health.checks == 5


def test_one_answer_is_enough_to_recover() -> None:
    assert checked(*[NOTHING] * 9).word == "hangs"
    assert checked(*[NOTHING] * 9, YES).word == "ready"
    assert checked(*[NOTHING] * 9, NO).word == "not ready"
    assert checked(*[NOTHING] * 9, YES, NOTHING, NOTHING).word == "silent"


def test_a_no_is_no_silence_however_often() -> None:
    health = checked(*[NO] * 50)
    assert (health.hangs, health.unready, health.silent) == (False, 50, 0)
