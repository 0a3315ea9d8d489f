"""From plaintext to TLS and back, between two proxies under load: nobody notices."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import cycle

import pytest

from tests.kit.bolt import REQUEST_CLASS
from tests.kit.capture import Unpermitted
from tests.kit.certificates import Authority
from tests.kit.client import Client
from tests.kit.load import Plan
from tests.kit.opposite import IDLE, SERVICES, Opposites
from tests.kit.processes import PATIENCE, finish_upgrade
from tests.kit.stage import Stage
from tests.kit.waiting import eventually
from tests.kit.wiretap import Wiretap

# Two hundred downstream connections.
STORM = Plan(busy=110, idle=10, streams=15, uploads=15, bolt=50, rate=400, bolt_rate=600, bolt_calls=8)
STORM_SECONDS = {"stream_seconds": 2.0, "upload_pause": 1.0}
ROUNDS = 10
USUAL_IDLE = 75.0
LONGEST = 4.0
"""Seconds: the longest request, and what a loaded machine takes for everything else."""
IN_THE_CLEAR = (b" HTTP/1.1\r\n", b"HTTP/1.1 200 ", REQUEST_CLASS)
"""What every request has, and many answers."""


def storm(share: float = 1.0) -> Plan:
    plan = STORM if share == 1.0 else STORM.scaled(share)
    for name, seconds in STORM_SECONDS.items():
        setattr(plan, name, seconds)
    return plan


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("share", "rounds", "idle"),
    [
        pytest.param(0.15, 1, IDLE, id="once"),
        pytest.param(1.0, ROUNDS, IDLE, id="ten times", marks=pytest.mark.all),
        pytest.param(1.0, 2, None, id="by the defaults", marks=pytest.mark.soak),
    ],
)
def test_nobody_notices_that_it_is_switched_on_and_off(
    stage: Stage, authority: Authority, share: float, rounds: int, idle: float | None
) -> None:
    """With an upgrade of either proxy in the middle of each change."""
    pair = Opposites(stage, authority, idle=idle)
    load = pair.load(storm(share))
    try:
        capture = stage.capture([*pair.ports, *pair.near_ports])
    except Unpermitted as reason:
        pytest.skip(str(reason))
    capture.begin()
    upgraded = cycle([pair.near, pair.far])
    replaced: dict[str, dict[str, int]] = {}
    for wanted in ["on", "off"] * rounds:
        pair.order(wanted)
        upgrade = finish_upgrade(next(upgraded).start_upgrade("--require-all"))
        assert upgrade.exit_code == 0, upgrade.text
        pair.wait_settled(within=(idle or USUAL_IDLE) + LONGEST)
        assert load.turn().failures == []
        before, replaced = replaced, pair.retired()
        assert all(replaced[cluster] != before.get(cluster) for cluster in SERVICES), "both were replaced"
    report = load.finish()
    print(report.summary(), replaced)
    assert report.failures == []
    assert pair.behind.record().wrong == []
    assert [str(segment) for segment in capture.end() if segment.flags == "RST"] == []
    assert set(replaced["app"]) == {"own"}, "http1: by us, after a complete exchange"
    assert set(replaced["calls"]) == {"peer"}, "bolt: by the server, which heard nothing any more"


def test_no_request_goes_in_plaintext_once_it_is_switched_on(stage: Stage, authority: Authority) -> None:
    pair = Opposites(stage, authority)
    load = pair.load(storm(0.15))
    with ExitStack() as exits:
        try:
            before = exits.enter_context(Wiretap(pair.ports, IN_THE_CLEAR))
        except Unpermitted as reason:
            pytest.skip(str(reason))
        assert load.turn().failures == []
    assert all(before.seen[text] for text in IN_THE_CLEAR), "it would be seen"
    pair.order("on")
    pair.wait_settled(within=IDLE + LONGEST)
    with Wiretap(pair.ports, IN_THE_CLEAR) as after:
        assert load.turn().failures == []
        assert pair.near.upgrade("--require-all").exit_code == 0
        assert load.turn().failures == []
    assert after.bytes > 100_000
    assert after.seen.total() == 0
    assert load.finish().failures == []


@pytest.mark.all
def test_watching_ends_when_all_is_done(stage: Stage, authority: Authority) -> None:
    pair = Opposites(stage, authority)
    load = pair.load(storm(0.1))
    command = pair.near.start_command("tls", "near", "--cluster", "calls", "on", "--watch", "--timeout", "20s")
    output, _ = command.communicate(timeout=PATIENCE)
    assert command.returncode == 0, output
    assert "0 plaintext" in output
    assert "done" in output.splitlines()[-1]
    assert pair.entry("calls")["retiring"] == 0
    assert load.finish().failures == []


@pytest.mark.all
def test_order_and_share_survive_an_upgrade(stage: Stage, authority: Authority) -> None:
    pair = Opposites(stage, authority)
    load = pair.load(storm(0.15))
    pair.order("on", "--percent", "50", clusters=("calls",))
    pair.wait_settled(within=IDLE + LONGEST, clusters=("calls",))
    (before,) = pair.entry("calls")["endpoints"]
    assert before["plaintext"] == before["tls"] == 4
    assert pair.near.upgrade("--require-all").exit_code == 0
    about = pair.entry("calls")
    assert (about["wanted"], about["by"], about["percent"]) == ("on", "order", 50)
    (after,) = about["endpoints"]
    assert (after["plaintext"], after["tls"]) == (4, 4)
    pair.order("configured", clusters=("calls",))
    pair.wait_settled(within=IDLE + LONGEST, clusters=("calls",))
    assert pair.entry("calls")["endpoints"][0]["tls"] == 0
    assert load.finish().failures == []


# ---- servers whose TLS is broken, or missing ----


def broken(pair: Opposites, kind: str, stranger: Authority) -> None:
    """Let the TLS of `far` be unacceptable from now on."""
    for listener in pair.far.config["listeners"]:
        if kind == "refuses":
            del listener["tls"], listener["tls_mode"]
        else:
            listener["tls"] = {"certificates": [stranger.issue("stranger").config]}
    pair.far.write_config()
    assert pair.far.upgrade("--require-all").exit_code == 0


def mended(pair: Opposites, authority: Authority) -> None:
    for listener in pair.far.config["listeners"]:
        listener |= {"tls": {"certificates": [authority.issue("edge").config]}, "tls_mode": "permissive"}
    pair.far.write_config()
    assert pair.far.upgrade("--require-all").exit_code == 0


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Nobody trusts it."""
    return Authority(tmp_path_factory.mktemp("stranger"))


@pytest.mark.parametrize(
    ("kind", "reason", "metric"),
    [
        pytest.param("wrong certificate", "certificate of the peer is not accepted", "certificate", id="certificate"),
        pytest.param("refuses", "", "handshake", id="no TLS"),
    ],
)
@pytest.mark.all
def test_no_request_is_lost_to_broken_tls_and_the_reason_is_told(
    stage: Stage, authority: Authority, stranger: Authority, kind: str, reason: str, metric: str
) -> None:
    pair = Opposites(stage, authority, retry="0.2s", max_retry="0.5s")
    broken(pair, kind, stranger)
    load = pair.load(storm(0.1))
    pair.order("on")

    def tried() -> bool:
        return all(pair.entry(cluster)["endpoints"][0].get("failures", 0) >= 2 for cluster in SERVICES)

    eventually(tried, within=PATIENCE, what="TLS was tried again and again")
    assert load.turn().failures == []
    for cluster in SERVICES:
        (endpoint,) = pair.entry(cluster)["endpoints"]
        assert endpoint["tls"] == 0
        assert reason in endpoint["reason"], endpoint
        assert endpoint["reason"]
    failures = pair.near.figures("hotswap_upstream_encryption_failures_total")
    told = {(dict(labels)["cluster"], dict(labels)["reason"]) for labels in failures}
    assert told == {(cluster, metric) for cluster in SERVICES}
    assert all(count >= 2 for count in failures.values())
    mended(pair, authority)
    pair.wait_settled(within=IDLE + LONGEST)
    assert all(pair.entry(cluster)["endpoints"][0]["plaintext"] == 0 for cluster in SERVICES)
    assert load.finish().failures == []


def test_strict_cluster_fails_requests_with_a_clear_error(
    stage: Stage, authority: Authority, stranger: Authority
) -> None:
    pair = Opposites(stage, authority, strict=True)
    broken(pair, "wrong certificate", stranger)
    pair.order("on")
    with Wiretap(pair.ports, IN_THE_CLEAR) as wire, Client(pair.web) as client:
        client.get("/echo")
        answer = client.response()
        assert answer.status == 503
        assert b"TLS" in answer.body
    assert wire.seen.total() == 0
    (endpoint,) = pair.entry("app")["endpoints"]
    assert "certificate of the peer is not accepted" in endpoint["reason"]
    pair.order("off")
    with Client(pair.web) as client:
        client.get("/echo")
        assert client.response().status == 200


def test_clients_follow_each_server_as_it_announces(stage: Stage, authority: Authority) -> None:
    """In the file, and through an upgrade of the client's side; then back."""
    pair = Opposites(stage, authority, wanted="follow", announcements="announced.yaml")
    load = pair.load(storm(0.1))
    file = pair.near.config_file.with_name("announced.yaml")
    web, rpc = pair.addresses
    file.write_text(f"{rpc}: tls\n")
    eventually(lambda: pair.entry("calls")["endpoints"][0]["tls"], within=PATIENCE, what="it follows")
    pair.wait_settled(within=IDLE + LONGEST)
    assert pair.near.upgrade("--require-all").exit_code == 0
    file.write_text(f"{rpc}: tls\n{web}: tls\n")
    eventually(lambda: pair.entry("app")["endpoints"][0]["tls"], within=PATIENCE, what="the other one does, too")
    pair.wait_settled(within=IDLE + LONGEST)
    assert [pair.entry(cluster)["endpoints"][0]["plaintext"] for cluster in SERVICES] == [0, 0]
    file.unlink()
    eventually(
        lambda: [pair.entry(cluster)["endpoints"][0]["tls"] for cluster in SERVICES] == [0, 0],
        within=IDLE + LONGEST,
        what="nobody announces it any more",
    )
    assert load.finish().failures == []
