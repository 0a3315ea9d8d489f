from __future__ import annotations

import pytest

from vm_agent.network.listening import Expected, Finding, Holder, Listener, Look, judge

WEB = "0.0.0.0:80"
SIDECAR, AGENT = 100, 7


def listener(inode: int = 1, *, queued: int = 0, backlog: int = 128, drops: int | None = 0) -> Listener:
    return Listener(WEB, inode, cookie=inode * 10, queued=queued, backlog=backlog, drops=drops)


def look(*there: Listener, held: dict[int, list[Holder]] | None = None, **rest: object) -> Look:
    holders = held or {one.inode: [Holder(SIDECAR, 5, "hotswap")] for one in there}
    return Look(there, tuple((inode, tuple(some)) for inode, some in holders.items()), **rest)  # type: ignore[arg-type]


def judged(now: Look, before: Look | None = None, pid: int = SIDECAR) -> tuple[Finding, ...]:
    return judge(Expected((WEB,), pid, frozenset({AGENT, 1})), now, before)


def kinds(now: Look, before: Look | None = None, pid: int = SIDECAR) -> list[str]:
    return [one.kind for one in judged(now, before, pid)]


def test_a_listener_of_the_sidecar_is_as_promised() -> None:
    assert kinds(look(listener())) == []


def test_one_that_is_missing_is_told_with_a_remedy() -> None:
    (found,) = judged(look())
    assert found.kind == "absent"
    assert str(found).startswith("0.0.0.0:80: nobody listens there; reload the sidecar")


def test_copies_of_the_agent_and_of_pid_1_do_not_confuse() -> None:
    held = {1: [Holder(1, 40, "systemd"), Holder(AGENT, 9, "hotswap-agent"), Holder(SIDECAR, 5, "hotswap")]}
    assert kinds(look(listener(), held=held)) == []


def test_the_agents_copy_alone_is_no_listener_of_a_living_sidecar() -> None:
    held = {1: [Holder(AGENT, 9, "hotswap-agent")]}
    assert kinds(look(listener(), held=held)) == ["foreign"]


def test_the_agents_copy_is_what_remains_of_a_dead_one() -> None:
    held = {1: [Holder(AGENT, 9, "hotswap-agent")]}
    assert kinds(look(listener(), held=held), pid=0) == []
    assert kinds(look(listener(), held={1: [Holder(500, 3, "nginx")]}), pid=0) == ["foreign"]


def test_one_of_somebody_else_is_told_with_whose_it_is() -> None:
    (found,) = judged(look(listener(), held={1: [Holder(500, 3, "nginx")]}))
    assert found.kind == "foreign"
    assert found.text == "it does not belong to process 100 but to process 500 (nginx)"


def test_what_may_not_be_looked_at_is_not_said_to_be_somebody_elses() -> None:
    now = look(listener(queued=128), held={1: [Holder(AGENT, 3, "agent")]}, unseen=(SIDECAR,))
    assert kinds(now) == ["unseen", "queue"]


def test_somebody_who_accepts_there_as_well_is_told() -> None:
    held = {1: [Holder(SIDECAR, 5, "hotswap")], 2: [Holder(500, 3, "nginx")]}
    (found,) = judged(look(listener(1), listener(2), held=held))
    assert (found.kind, found.text[:19]) == ("rival", "process 500 (nginx)")


@pytest.mark.parametrize(
    ("stranger", "expected"),
    [
        (Holder(500, 3, "python"), ["shared"]),
        (Holder(101, 5, "hotswap", ancestor=SIDECAR), []),
        (Holder(99, 5, "hotswap"), []),
    ],
    ids=["nobody knows it", "the next generation", "the generation before"],
)
def test_a_copy_of_another_generation_is_expected_and_any_other_is_not(stranger: Holder, expected: list[str]) -> None:
    held = {1: [Holder(SIDECAR, 5, "hotswap", ancestor=99), stranger]}
    assert kinds(look(listener(), held=held, started_by=99)) == expected


@pytest.mark.parametrize(("queued", "expected"), [(0, []), (102, []), (103, ["queue"]), (129, ["queue"])])
def test_a_queue_is_full_from_four_fifths_on(queued: int, expected: list[str]) -> None:
    assert kinds(look(listener(queued=queued, backlog=128))) == expected


def test_a_queue_without_room_is_full_as_soon_as_somebody_waits() -> None:
    assert kinds(look(listener(queued=1, backlog=0))) == ["queue"]
    assert kinds(look(listener(queued=0, backlog=0))) == []


def test_only_the_difference_tells_of_an_overflow() -> None:
    assert kinds(look(listener(drops=50))) == []
    assert kinds(look(listener(drops=50)), look(listener(drops=50))) == []
    (found,) = judged(look(listener(drops=53)), look(listener(drops=50)))
    assert found.text == "its accept queue overflowed: 3 attempts to connect were dropped since the last look"


def test_another_socket_at_the_same_address_counts_from_nothing() -> None:
    now, before = look(listener(2, drops=4)), look(listener(1, drops=50))
    (found,) = judged(now, before)
    assert "4 attempts" in found.text


def test_overflows_of_other_programs_are_none_of_the_sidecar() -> None:
    assert kinds(look(listener(drops=0), overflows=9), look(listener(drops=0), overflows=1)) == []


def test_a_kernel_that_counts_for_all_together_is_quoted_so() -> None:
    (found,) = judged(look(listener(drops=None), overflows=9), look(listener(drops=None), overflows=1))
    assert found.text == "accept queues overflowed 8 times since the last look; the kernel does not tell whose"
