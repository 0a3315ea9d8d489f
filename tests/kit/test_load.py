from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest

from tests.kit.certificates import Authority
from tests.kit.load import Cause, Load, Plan
from tests.kit.ports import loopback
from tests.kit.relay import Fault, Relay
from tests.kit.upstreams import Upstreams
from tests.kit.waiting import eventually

MIXTURE = {"busy": 4, "idle": 2, "streams": 2, "uploads": 2, "websockets": 2, "raw": 3}


@pytest.fixture(scope="module")
def upstreams() -> Iterator[Upstreams]:
    with Upstreams(("http", "127.0.0.1:0"), ("tcp", "127.0.0.1:0")) as running:
        yield running


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("load"))


@pytest.fixture(scope="module")
def secure_upstreams(authority: Authority) -> Iterator[Upstreams]:
    with Upstreams(("http", "127.0.0.1:0"), ("tcp", "127.0.0.1:0"), tls=authority.issue()) as running:
        yield running


@pytest.fixture
def plan(upstreams: Upstreams) -> Plan:
    http, tcp = upstreams.addresses
    brisk = Plan(http=http, tcp=tcp, rate=40, raw_rate=20, stream_seconds=0.5, upload_pause=0.2, patience=3)
    return msgspec.structs.replace(brisk, **MIXTURE)


class Relays:
    """Both upstreams behind relays, and clients before them."""

    def __init__(self, http: Relay, tcp: Relay, load: Load) -> None:
        self.relays = [http, tcp]
        self.load = load

    def fail(self, fault: Fault) -> None:
        for relay in self.relays:
            relay.fail(fault)


@contextmanager
def relayed(plan: Plan, **changes: float | bool) -> Iterator[Relays]:
    with Relay(plan.http) as http, Relay(plan.tcp) as tcp:
        changed = msgspec.structs.replace(plan, http=http.address, tcp=tcp.address, **changes)
        with Load(changed) as load:
            yield Relays(http, tcp, load)


def test_without_a_proxy_nothing_fails(plan: Plan, upstreams: Upstreams) -> None:
    with Load(plan) as load:
        assert load.turn().failures == []
        report = load.finish()
    assert report.failures == []
    assert report.connected == MIXTURE
    assert all(report.exchanges.values())
    record = upstreams.record()
    assert record.busy_ends == []
    assert record.wrong == []


def test_calls_are_counted_by_kind_as_the_upstream_counts_them() -> None:
    with Upstreams(("bolt", "127.0.0.1:0")) as upstreams:
        plan = Plan(bolt_address=upstreams.addresses[0], bolt=3, bolt_calls=8, bolt_rate=500)
        with Load(plan) as load:
            eventually(lambda: len(load.report().calls) == 3, within=10, what="calls of every kind")
            report = load.finish()
        assert report.failures == []
        record = upstreams.record()
    assert record.wrong == []
    seen = record.requests
    assert report.calls == {"call": seen["bolt"], "oneway": seen["oneway"], "heartbeat": seen["heartbeat"]}


@pytest.fixture
def secure_plan(plan: Plan, authority: Authority, secure_upstreams: Upstreams) -> Plan:
    http, tcp = secure_upstreams.addresses
    return msgspec.structs.replace(plan, http=http, tcp=tcp, tls=str(authority.file))


def test_half_of_the_clients_speak_each_version_of_tls(secure_plan: Plan, secure_upstreams: Upstreams) -> None:
    with Load(secure_plan) as load:
        assert load.turn().failures == []
        report = load.finish()
    assert report.failures == []
    assert report.connected == MIXTURE
    record = secure_upstreams.record()
    assert record.versions == {"TLSv1.2": 8, "TLSv1.3": 7}  # of the three raw ones the first and the last speak 1.2
    assert record.busy_ends == []
    assert record.wrong == []


def test_calls_go_by_tls_too(authority: Authority) -> None:
    with Upstreams(("bolt", "127.0.0.1:0"), tls=authority.issue(), version="1.3") as upstreams:
        plan = Plan(bolt_address=upstreams.addresses[0], bolt=2, bolt_calls=4, tls=str(authority.file))
        with Load(plan) as load:
            report = load.finish()
        assert [failure.index for failure in report.failures] == [0], "the upstream refuses TLS 1.2"
        assert report.calls["call"] > 4
        assert upstreams.record().versions == {"TLSv1.3": 1}


def test_fresh_connections_follow_one_another(secure_plan: Plan, secure_upstreams: Upstreams) -> None:
    before = secure_upstreams.record().accepted
    plan = msgspec.structs.replace(secure_plan.only("fresh"), fresh=2, fresh_rate=100)
    with Load(plan) as load:
        eventually(lambda: load.report().connected["fresh"] > 10, within=10, what="they connect again and again")
        report = load.finish()
    assert report.failures == []
    assert secure_upstreams.record().accepted == before + report.connected["fresh"]


@pytest.mark.parametrize("fault", ["drop", "double", "flip"])
def test_a_wrong_byte_is_noticed_by_every_client_of_tls(secure_plan: Plan, fault: Fault) -> None:
    with relayed(secure_plan, patience=0.5) as relays:
        relays.fail(fault)
        report = relays.load.finish()
    assert Counter(failure.kind for failure in report.failures) == MIXTURE


@pytest.mark.parametrize("fault", ["drop", "double", "flip"])
def test_a_wrong_byte_is_noticed_by_every_client(plan: Plan, fault: Fault) -> None:
    with relayed(plan, patience=0.5) as relays:
        relays.fail(fault)
        report = relays.load.finish()
    assert Counter(failure.kind for failure in report.failures) == MIXTURE
    assert not report.of_cause("refused", "reset", "closed")


@pytest.mark.parametrize(("fault", "cause"), [("close", "closed"), ("reset", "reset"), ("mute", "silent")])
def test_a_lost_connection_is_noticed_by_every_client(plan: Plan, fault: Fault, cause: Cause) -> None:
    with relayed(plan, patience=0.5) as relays:
        relays.fail(fault)
        report = relays.load.finish()
    assert Counter(failure.kind for failure in report.failures) == MIXTURE
    assert {failure.cause for failure in report.failures} <= {cause, "reset"}


def test_a_turn_tells_which_connections_hang(plan: Plan) -> None:
    with relayed(plan) as relays:
        assert relays.load.turn().failures == []
        relays.fail("mute")
        report = relays.load.turn(within=0.3)
    assert {failure.kind for failure in report.of_cause("silent")} == set(MIXTURE) - {"idle", "uploads"}


def test_a_refused_connection_is_noticed() -> None:
    with Load(Plan(http=loopback(), busy=2)) as load:
        report = load.report()
    assert [failure.cause for failure in report.failures] == ["refused", "refused"]


def test_clients_that_reconnect_report_the_loss_and_go_on(plan: Plan) -> None:
    with relayed(plan, reconnect=True) as relays:
        relays.fail("close")
        relays.load.turn()
        report = relays.load.finish()
    assert Counter(failure.kind for failure in report.failures) == MIXTURE
    assert report.connected == {kind: 2 * count for kind, count in MIXTURE.items()}
