"""What is wanted of endpoints: modes, announcements, shares that grow, pauses after failures; and all of it saved."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hotswap.address import Address
from proxy.config.model import ClusterConfig, EndpointConfig
from proxy.config.tls_model import Announced, ClusterTlsConfig, EncryptionConfig, Wanted
from proxy.encryption import wishes as module
from proxy.encryption.state import Order, WishesState
from proxy.encryption.wishes import Wishes, settings

NOW = 1000.0
NAME = "10.0.0.1:80"


def config(encryption: EncryptionConfig | None = None, *, tls: bool = True, **keys: Any) -> ClusterConfig:
    """A cluster with this section, or with these keys in it."""
    section = EncryptionConfig(**keys) if keys else encryption
    endpoints = (EndpointConfig(address=Address.parse(NAME)),)
    tls_config = ClusterTlsConfig() if tls else None
    return ClusterConfig(name="app", endpoints=endpoints, tls=tls_config, encryption=section)


def wishes(**keys: Any) -> Wishes:
    return Wishes(config(**keys))


def endpoint(name: str = NAME, encryption: Wanted | None = None, announces: Announced | None = None) -> Any:
    return SimpleNamespace(name=name, encryption=encryption, announces=announces)


def moved(before: Wishes, here: float, there: float, then: ClusterConfig) -> Wishes:
    """What another process makes of it, whose clock shows something else at the same moment."""
    saved = msgspec.msgpack.decode(msgspec.msgpack.encode(before.save(here)), type=WishesState)
    after = Wishes(then)
    after.load(saved, there)
    return after


# ---- modes and announcements ----


def test_cluster_without_the_section_encrypts_all_and_strictly_if_it_knows_how() -> None:
    assert settings(config()) == EncryptionConfig(wanted="on", strict=True)
    assert settings(config(tls=False)) == EncryptionConfig(wanted="off")
    assert wishes().wants(endpoint())
    assert wishes().strict
    assert not wishes(strict=False).strict


@pytest.mark.parametrize("wanted", get_args(Wanted))
@pytest.mark.parametrize("announces", get_args(Announced))
def test_mode_of_the_cluster_holds_for_its_endpoints(wanted: Wanted, announces: Announced) -> None:
    expected = wanted == "on" or (wanted == "follow" and announces == "tls")
    assert wishes(wanted=wanted).wants(endpoint(announces=announces)) is expected


@pytest.mark.parametrize("own", get_args(Wanted))
@pytest.mark.parametrize("wanted", get_args(Wanted))
def test_own_mode_of_an_endpoint_goes_before_that_of_cluster_and_order(wanted: Wanted, own: Wanted) -> None:
    one = wishes(wanted=wanted)
    expected = own == "on"  # nothing is announced
    assert one.wants(endpoint(encryption=own)) is expected
    one.obey(Order("off" if expected else "on"))
    assert one.wants(endpoint(encryption=own)) is expected


def test_nothing_is_wanted_that_is_not_possible() -> None:
    one = Wishes(config(tls=False))
    one.obey(Order("on"))
    assert not one.possible
    assert not one.wants(endpoint(encryption="on", announces="tls"))


def test_control_socket_goes_before_the_file_and_the_file_before_the_configuration() -> None:
    one = wishes(wanted="follow")
    assert one.announces(endpoint()) == "plaintext"
    assert one.announces(endpoint(announces="tls")) == "tls"
    one.file = {NAME: "plaintext"}
    assert one.announces(endpoint(announces="tls")) == "plaintext"
    assert one.announces(endpoint("10.0.0.2:80", announces="tls")) == "tls", "the file does not name it"
    one.announced[NAME] = "tls"
    assert one.announces(endpoint()) == "tls"
    one.announced[NAME] = "plaintext"
    one.file = {NAME: "tls"}
    assert one.announces(endpoint(announces="tls")) == "plaintext"


# ---- shares ----


def test_share_holds_at_once_without_a_ramp() -> None:
    assert wishes(percent=30).share(NOW) == 30
    assert not wishes(percent=30).grows(NOW)
    assert wishes(wanted="on").share(NOW) == 100


@pytest.mark.parametrize(
    ("passed", "share"), [(0, 0), (1, 0), (2, 1), (5, 2), (25, 12), (50, 25), (99, 49), (100, 50), (9e9, 50)]
)
def test_share_grows_evenly_from_when_it_is_first_asked_for(passed: float, share: int) -> None:
    one = wishes(percent=50, ramp=100.0)
    assert one.share(NOW) == 0
    assert one.share(NOW + passed) == share
    assert one.grows(NOW + passed) is (share < 50)


def test_share_goes_on_from_what_it_has_reached() -> None:
    one = wishes(wanted="off")
    one.obey(Order("on", 40, 100.0))
    one.share(NOW)
    assert one.share(NOW + 50) == 20
    one.obey(Order("on", 100, 100.0))
    assert one.share(NOW + 60) == 20
    assert one.share(NOW + 110) == 60
    assert one.share(NOW + 160) == 100


def test_lower_share_holds_at_once_in_spite_of_a_ramp() -> None:
    one = wishes(percent=80)
    assert one.share(NOW) == 80
    one.obey(Order("on", 30, 100.0))
    assert one.share(NOW) == 30
    assert not one.grows(NOW)
    one.obey(Order("on", 50, 100.0))
    assert (one.share(NOW), one.share(NOW + 50)) == (30, 40)


def test_share_begins_from_nothing_after_off() -> None:
    one = wishes(percent=80)
    one.share(NOW)
    one.obey(Order("off"))
    one.share(NOW)
    one.obey(Order("on", 100, 100.0))
    assert (one.share(NOW), one.share(NOW + 10)) == (0, 10)


@pytest.mark.parametrize(
    ("percent", "total", "quota"),
    [(0, 10, 0), (1, 0, 0), (1, 1, 1), (1, 100, 1), (1, 101, 2), (50, 3, 2), (99, 10, 10), (100, 7, 7)],
)
def test_quota_is_rounded_up_so_that_a_share_is_at_least_one(percent: int, total: int, quota: int) -> None:
    assert wishes(percent=percent).quota(total, NOW) == quota


# ---- failures ----


def test_pause_doubles_with_each_failure_in_a_row_up_to_the_longest() -> None:
    one = wishes(retry=2.0, max_retry=15.0)
    now, pauses = NOW, []
    for _ in range(5):
        one.refused(NAME, "no TLS there", now)
        pauses.append(one.resting_until(NAME) - now)
        now = one.resting_until(NAME)
    assert pauses == [2.0, 4.0, 8.0, 15.0, 15.0]
    assert one.troubles[NAME].failures == 5


def test_pause_stays_the_longest_however_often_it_failed() -> None:
    one = wishes(retry=1.0, max_retry=60.0)
    one.refused(NAME, "no TLS there", NOW)
    one.troubles[NAME].failures = 100_000
    one.refused(NAME, "no TLS there", NOW + 1)
    assert one.resting_until(NAME) == NOW + 61


def test_several_failures_within_one_pause_count_once() -> None:
    one = wishes(retry=2.0)
    one.refused(NAME, "first", NOW)
    one.refused(NAME, "second", NOW + 1.999)
    assert (one.troubles[NAME].failures, one.troubles[NAME].reason) == (1, "first")
    assert one.resting_until(NAME) == NOW + 2
    one.refused(NAME, "third", NOW + 2)
    assert (one.troubles[NAME].failures, one.troubles[NAME].reason) == (2, "third")


def test_success_ends_the_row() -> None:
    one = wishes(retry=2.0)
    one.refused(NAME, "no", NOW)
    one.refused("10.0.0.2:80", "no", NOW)
    one.proven(NAME)
    one.proven("10.0.0.3:80")
    assert (one.resting_until(NAME), one.resting_until("10.0.0.2:80")) == (0.0, NOW + 2)
    one.refused(NAME, "no", NOW + 1)
    assert one.resting_until(NAME) == NOW + 3


def test_order_has_it_tried_at_once() -> None:
    one = wishes()
    one.refused(NAME, "no", NOW)
    one.obey(Order("on"))
    assert one.resting_until(NAME) == 0.0
    one.refused(NAME, "no", NOW)
    one.obey(None)
    assert one.resting_until(NAME) == 0.0


def test_failures_are_remembered_of_so_many_endpoints_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_TROUBLES", 10)
    one = wishes(retry=60.0)
    for number in range(10):
        one.refused(f"early {number}", "no", NOW if number else NOW + 100)
    one.refused("late", "no", NOW + 70)
    assert [*one.troubles] == ["early 0", "late"], "those that may be tried again go first"
    for number in range(1000):
        one.refused(f"flood {number}", "no", NOW + 70)
        assert len(one.troubles) <= 10
        assert one.resting_until(f"flood {number}") == NOW + 130, "the latest is remembered in any case"
    one.refused("flood 999", "no", NOW + 131)
    assert one.troubles["flood 999"].failures == 2


# ---- orders and another configuration ----


def test_order_goes_before_the_configuration_until_it_is_taken_back() -> None:
    one = wishes(wanted="off")
    one.obey(Order("on", 20))
    assert (one.current, one.share(NOW)) == (Order("on", 20), 20)
    assert one.wants(endpoint())
    one.obey(None)
    assert one.current == Order("off")
    assert not one.wants(endpoint())


@pytest.mark.parametrize(
    "then",
    [EncryptionConfig(wanted="on"), EncryptionConfig(wanted="off", percent=50), EncryptionConfig(wanted="follow")],
)
def test_order_is_over_when_the_configuration_wants_something_new(then: EncryptionConfig) -> None:
    one = wishes(wanted="off")
    one.obey(Order("on", 20))
    one.follow(config(then))
    assert one.order is None
    assert one.current.wanted == then.wanted


@pytest.mark.parametrize(
    "then",
    [
        EncryptionConfig(wanted="off"),
        EncryptionConfig(wanted="off", strict=True, retry=9.0, max_retry=99.0, announcements="/x"),
    ],
)
def test_order_holds_while_the_configuration_wants_the_same(then: EncryptionConfig) -> None:
    one = wishes(wanted="off")
    one.obey(Order("on", 20, 100.0))
    one.share(NOW)
    one.follow(config(then))
    assert one.current == Order("on", 20, 100.0)
    assert one.share(NOW + 50) == 10, "it grows on"
    assert one.config == then


def test_new_configuration_goes_on_from_the_share_that_was_reached() -> None:
    one = wishes(percent=40)
    one.share(NOW)
    one.follow(config(percent=90, ramp=100.0))
    assert (one.share(NOW + 7), one.share(NOW + 57)) == (40, 65)


def test_tls_that_is_taken_away_is_wanted_no_more() -> None:
    one = wishes()
    one.follow(config(tls=False))
    assert not one.wants(endpoint())
    assert one.current == Order("off")


# ---- the value ----


def test_everything_moves_to_another_clock() -> None:
    before = wishes(wanted="off")
    before.obey(Order("follow", 80, 100.0))
    before.announced = {NAME: "tls", "10.0.0.2:80": "plaintext"}
    before.share(NOW)
    before.refused(NAME, "no TLS there", NOW)
    before.refused(NAME, "still none", NOW + 40)
    after = moved(before, NOW + 40.5, 7.5, config(wanted="off"))
    assert after.current == Order("follow", 80, 100.0)
    assert after.announced == before.announced
    assert (after.share(7.5), after.share(17)) == (32, 40)
    assert after.resting_until(NAME) == 9.0
    assert (after.troubles[NAME].failures, after.troubles[NAME].reason) == (2, "still none")
    after.refused(NAME, "no", 9.0)
    assert after.resting_until(NAME) == 13.0, "the pause doubles on"


def test_value_is_not_changed_by_whoever_was_loaded_from_it() -> None:
    saved = WishesState(announced={NAME: "tls"})
    after = wishes()
    after.load(saved, NOW)
    after.announced.clear()
    assert saved.announced == {NAME: "tls"}


def test_share_that_nobody_asked_for_yet_begins_at_the_move() -> None:
    after = moved(wishes(percent=100, ramp=100.0), NOW, 7.0, config(percent=100, ramp=100.0))
    assert (after.share(7.0), after.share(17.0)) == (0, 10)


def test_order_right_after_a_move_goes_on_from_what_was_reached() -> None:
    before = wishes(percent=40)
    before.share(NOW)
    after = moved(before, NOW, 7.0, config(percent=40))
    after.obey(Order("on", 90, 100.0))
    assert (after.share(7.0), after.share(57.0)) == (40, 65)


def test_order_is_over_when_the_next_generation_is_configured_otherwise() -> None:
    before = wishes(wanted="off")
    before.obey(Order("on", 60, 100.0))
    before.announced = {NAME: "tls"}
    before.share(NOW)
    before.refused(NAME, "no", NOW + 50)
    after = moved(before, NOW + 50, 7.0, config(wanted="on", ramp=10.0))
    assert after.order is None
    assert (after.share(7.0), after.share(12.0)) == (30, 65), "it goes on from what was reached"
    assert (after.announced, after.resting_until(NAME)) == ({NAME: "tls"}, 8.0), "these hold whatever is wanted"


def test_what_was_off_begins_from_nothing_in_a_generation_that_is_on() -> None:
    before = wishes(wanted="off")
    before.share(NOW)
    after = moved(before, NOW, 7.0, config(wanted="on", ramp=10.0))
    assert (after.share(7.0), after.share(8.0)) == (0, 10)


TIMES = st.integers(0, 4000).map(lambda steps: steps / 16)  # such numbers add up exactly
PERCENT = st.integers(0, 100)
RAMPS = st.one_of(st.just(0.0), TIMES)
ORDERS = st.builds(Order, st.sampled_from(get_args(Wanted)), PERCENT, RAMPS)
NAMES = [NAME, "10.0.0.2:80", "[::1]:80"]
CONFIGS = st.builds(
    EncryptionConfig,
    wanted=st.sampled_from(get_args(Wanted)),
    percent=PERCENT,
    ramp=st.one_of(st.none(), TIMES),
    retry=st.sampled_from([0.5, 2.0]),
    max_retry=st.sampled_from([1.0, 60.0]),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("obey"), st.one_of(st.none(), ORDERS)),
        st.tuples(st.just("refused"), st.sampled_from(NAMES)),
        st.tuples(st.just("proven"), st.sampled_from(NAMES)),
        st.tuples(st.just("announced"), st.tuples(st.sampled_from(NAMES), st.sampled_from(get_args(Announced)))),
        st.tuples(st.just("share"), st.none()),
        st.tuples(st.just("wait"), TIMES),
    ),
    max_size=12,
)


@given(CONFIGS, STEPS, st.integers(0, 1 << 20).map(float), st.lists(TIMES, min_size=1, max_size=4))
@example(EncryptionConfig(ramp=100.0), [("share", None), ("wait", 50.0)], 3.0, [0.0, 10.0])
@example(EncryptionConfig(), [("refused", NAME), ("wait", 2.0), ("refused", NAME)], 0.0, [0.0, 1.0])
def test_whoever_takes_over_gives_the_same_answers_at_any_time(
    section: EncryptionConfig, steps: list[tuple[str, Any]], there: float, later: list[float]
) -> None:
    before, now = wishes(encryption=section), NOW
    for step, value in steps:
        if step == "obey":
            before.obey(value)
        elif step == "refused":
            before.refused(value, "no TLS there", now)
        elif step == "proven":
            before.proven(value)
        elif step == "announced":
            before.announced[value[0]] = value[1]
        elif step == "share":
            before.share(now)
        else:
            now += value
    after = moved(before, now, there, config(section))
    assert after.current == before.current
    for passed in sorted(later):
        assert after.share(there + passed) == before.share(now + passed)
        assert after.quota(7, there + passed) == before.quota(7, now + passed)
        assert after.grows(there + passed) == before.grows(now + passed)
    assert after.troubles.keys() == before.troubles.keys()
    for name in before.troubles:
        assert after.resting_until(name) - there == before.resting_until(name) - now
    for name in NAMES:
        assert after.wants(endpoint(name)) == before.wants(endpoint(name))
    for one, moment in ((before, now + later[-1]), (after, there + later[-1])):
        one.refused(NAME, "no", moment)
        one.obey(Order("on", 100, 64.0))
    assert after.share(there + later[-1]) == before.share(now + later[-1]), "the same was reached"
