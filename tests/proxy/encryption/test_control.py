"""Orders of the control socket, and what it shows of each cluster."""

# mypy: disable-error-code="unreachable"

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from hotswap.errors import Busy, ConfigError, HotswapError, Refused, UsageError
from hotswap.http import BadRequest, Request, Response
from proxy.encryption.control import TlsOrder, carry_out, control_routes, entries
from proxy.encryption.state import Order
from tests.kit import bolt
from tests.proxy.encryption.scene import GET, V1, Changing

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.kit.certificates import Authority

    Build = Callable[..., Changing]

ONE = "127.0.0.1:9000"


class Relaying(Changing):
    """With a listener "raw" (tcp) as well, and a cluster "plain" that nobody uses."""

    def _text(self, **changes: Any) -> str:
        raw = "  - {name: raw, address: 127.0.0.1:81, protocol: tcp, cluster: app}\n"
        return super()._text(**changes).replace("clusters:\n", f"{raw}clusters:\n") + (
            "  - {name: plain, endpoints: [127.0.0.1:9100]}\n"
        )


class Transparent(Changing):
    """Clients go where they wanted to go."""

    def _text(self, **changes: Any) -> str:
        text = super()._text(**changes).replace("[127.0.0.1:9000]", "original_dst")
        return text.replace("bolt", "tcp").replace("cluster: app", "original_dst: redirect, cluster: app")


@pytest.fixture
def scene(authority: Authority) -> Changing:
    return Changing(authority)


def entry(scene: Changing) -> dict[str, Any]:
    (found,) = entries(scene.world.proxy, ["app"])
    return found


# ---- orders ----


@pytest.mark.parametrize(
    ("order", "kind", "text"),
    [
        (TlsOrder("web", "on"), UsageError, "there is no cluster 'web'; there are app"),
        (TlsOrder("app"), UsageError, "order either what is wanted of a cluster or what an endpoint announces"),
        (
            TlsOrder("app", "on", endpoint=ONE, announces="tls"),
            UsageError,
            "order either what is wanted of a cluster or what an endpoint announces",
        ),
        (TlsOrder("app", "on", -1), UsageError, "percent goes from 0 to 100"),
        (TlsOrder("app", "on", 101), UsageError, "percent goes from 0 to 100"),
        (TlsOrder("app", "on", ramp=-0.1), UsageError, "ramp from 0 seconds to 365 days"),
        (TlsOrder("app", "on", ramp=365 * 86400.0 + 1), UsageError, "ramp from 0 seconds to 365 days"),
        (TlsOrder("app", "on", endpoint=ONE), UsageError, "what is wanted of it alone stands in the configuration"),
        (
            TlsOrder("app", endpoint="127.0.0.1:9009", announces="tls"),
            UsageError,
            "cluster app has no endpoint 127.0.0.1:9009; it has 127.0.0.1:9000",
        ),
        (TlsOrder("app", announces="tls"), ConfigError, "'' is not an address"),
        (TlsOrder("app", endpoint="app.test:1", announces="tls"), ConfigError, "no numeric host"),
    ],
)
def test_order_that_means_nothing_changes_nothing(
    scene: Changing, order: TlsOrder, kind: type[HotswapError], text: str
) -> None:
    before = scene.about
    with pytest.raises(kind) as raised:
        carry_out(scene.world.proxy, order)
    assert text in str(raised.value)
    assert scene.about == before


@pytest.mark.parametrize("order", [TlsOrder("app", "on", 0, 365 * 86400.0), TlsOrder("app", "on", 100)])
def test_bounds_of_an_order_are_part_of_it(scene: Changing, order: TlsOrder) -> None:
    carry_out(scene.world.proxy, order)
    assert scene.world.proxy.clusters["app"].switch.wishes.current == Order("on", order.percent, order.ramp)


@pytest.mark.parametrize("wanted", ["on", "follow", "off", "configured"])
def test_encryption_that_is_not_possible_is_refused(authority: Authority, wanted: Any) -> None:
    scene = Changing(authority, tls=False, encryption="")
    with pytest.raises(Refused, match=r"cluster app knows no TLS: add tls: \{ca: FILE\} to it, then reload"):
        scene.order(wanted)
    _, server = scene.web()
    assert not server.secure


def test_order_counts_until_it_is_taken_back(changing: Build) -> None:
    scene = changing(encryption="{wanted: off, percent: 70}")
    assert (scene.about["wanted"], scene.about["by"]) == ("off", "configuration")
    scene.order("on", 30)
    about = scene.about
    assert (about["wanted"], about["by"], about["percent"], about["share"]) == ("on", "order", 30, 30)
    scene.order("configured")
    about = scene.about
    assert (about["wanted"], about["by"], about["percent"]) == ("off", "configuration", 70)


def test_order_is_carried_out_by_a_proxy_that_sleeps(scene: Changing) -> None:
    reactor = scene.world.proxy.reactor
    for order in (TlsOrder("app", "on"), TlsOrder("app", endpoint=ONE, announces="tls")):
        reactor.tick()
        assert reactor.next_alarm() > reactor.kernel.clock()
        carry_out(scene.world.proxy, order)
        assert reactor.next_alarm() <= reactor.kernel.clock()


def test_endpoint_announces_and_takes_it_back(changing: Build) -> None:
    scene = changing(endpoints=f"{ONE}, {{address: 127.0.0.1:9001, announces: tls}}", encryption="follow")

    def announced() -> list[str]:
        endpoints = scene.about["endpoints"]
        assert [one["wanted"] for one in endpoints] == [one["announces"] for one in endpoints]
        return [one["announces"] for one in endpoints]

    assert announced() == ["plaintext", "tls"]
    scene.announce("localhost:9000", "tls")
    assert announced() == ["tls", "tls"]
    scene.announce("127.0.0.1:9001", "plaintext")
    assert announced() == ["tls", "plaintext"]
    scene.announce(ONE, "configured")
    scene.announce("127.0.0.1:9001", "configured")
    assert announced() == ["plaintext", "tls"]
    scene.announce(ONE, "configured")
    assert announced() == ["plaintext", "tls"], "nothing to take back is fine"


def test_connections_follow_an_endpoint_that_announces(changing: Build) -> None:
    scene = changing(encryption="follow")
    client, plain = scene.web()
    scene.announce(ONE, "tls")
    scene.ask(client, plain)
    secure = scene.succeed()
    assert secure.secure
    scene.announce(ONE, "configured")
    scene.ask(client, secure)
    assert not scene.succeed().secure


def test_nobody_announces_where_clients_choose_the_destination(authority: Authority) -> None:
    scene = Transparent(authority, encryption="off")
    with pytest.raises(Refused, match="original_dst"):
        scene.order("follow")
    with pytest.raises(UsageError, match="has no endpoint"):
        scene.announce("127.0.0.1:9007", "tls")
    scene.order("on")
    client = scene.world.connect("web", destination="127.0.0.1:9007")
    client.send(GET)
    assert scene.accepted().secure


# ---- what is shown ----


def test_entry_tells_what_is_wanted_and_what_there_is(changing: Build) -> None:
    scene = changing(encryption="{wanted: on, strict: true}")
    scene.web()
    assert entry(scene) == {
        "name": "app",
        "wanted": "on",
        "by": "configuration",
        "strict": True,
        "percent": 100,
        "share": 100,
        "settled": True,
        "endpoints": [
            {"address": ONE, "wanted": "tls", "announces": "plaintext", "plaintext": 0, "tls": 1, "succeeding": 0}
        ],
        "retiring": 0,
        "retiring_in_flight": 0,
        "relayed": {"plaintext": 0, "tls": 0},
    }


def test_share_that_grows_is_not_settled(changing: Build) -> None:
    scene = changing()
    scene.order("on", 50, 10.0)
    scene.world.wait(5.0)
    assert (entry(scene)["share"], entry(scene)["settled"]) == (25, False)
    scene.world.wait(5.0)
    assert (entry(scene)["share"], entry(scene)["settled"]) == (50, True)


def test_successor_and_failure_are_shown(changing: Build) -> None:
    scene = changing(encryption="{wanted: off, retry: 8s}")
    client, plain = scene.web()
    scene.order("on")
    scene.ask(client, plain)
    (about,) = entry(scene)["endpoints"]
    assert about["succeeding"] == 1
    assert "reason" not in about
    assert entry(scene)["settled"] is False
    scene.spoiled()
    (about,) = entry(scene)["endpoints"]
    assert (about["succeeding"], about["failures"], about["retry_in"]) == (0, 1, 8.0)
    assert about["reason"]
    scene.world.wait(2.5)
    assert entry(scene)["endpoints"][0]["retry_in"] == 5.5


def test_connection_that_retires_is_shown_with_its_calls(changing: Build) -> None:
    scene = changing()
    client, plain, first = scene.rpc()
    client.send(bolt.call(V1, 8, b"second"))
    (second,) = plain.frames()
    scene.order("on")
    scene.accepted().beat()
    for left, call in ((2, first), (1, second), (0, None)):
        found = entry(scene)
        assert (found["retiring"], found["retiring_in_flight"]) == (1, left)
        assert found["settled"], "nothing is left to be replaced"
        if call is not None:
            plain.send(bolt.answer(V1, call.id, b"done"))
    plain.fin()
    assert entry(scene)["retiring"] == 0


def test_connections_that_are_passed_through_are_counted_apart(authority: Authority, moving: bool) -> None:
    scene = Relaying(authority, moving=moving)
    scene.world.connect("raw")
    assert entry(scene)["relayed"] == {"plaintext": 0, "tls": 0}, "not connected yet"
    scene.accepted()
    scene.world.connect("raw")
    scene.accepted()
    assert entry(scene)["relayed"] == {"plaintext": 2, "tls": 0}
    scene.order("on")
    scene.world.connect("raw")
    assert scene.accepted().secure
    assert entry(scene)["relayed"] == {"plaintext": 2, "tls": 1}
    assert scene.counts == (0, 0)
    assert scene.about["settled"], "these cannot be replaced"
    scene.web()
    assert entry(scene)["relayed"] == {"plaintext": 2, "tls": 1}
    (other,) = entries(scene.world.proxy, ["plain"])
    assert other["relayed"] == {"plaintext": 0, "tls": 0}


# ---- the routes ----


def ask(serving: Any, method: str, body: Any = None) -> Any:
    request = Request(method, "/tls", {}, {}, None)
    request.body = b"" if body is None else json.dumps(body).encode()

    async def answer() -> Any:
        return await control_routes(serving)[method, "/tls"](request)

    response = cast("Response", asyncio.run(answer()))
    assert response.status == 200
    return json.loads(response.body)


def serving(scene: Changing, state: str = "serving", *, gave_away: bool = False) -> Any:
    return SimpleNamespace(server=scene.world.proxy, state=state, gave_away=gave_away)


def test_clusters_that_know_tls_are_shown(authority: Authority) -> None:
    scene = Relaying(authority)
    assert ask(serving(scene), "GET") == {"clusters": [entry(scene)]}


def test_cluster_whose_tls_was_taken_away_is_shown_while_connections_have_it(authority: Authority) -> None:
    scene = Changing(authority, tls=False, encryption="")
    assert ask(serving(scene), "GET") == {"clusters": []}
    scene.world.proxy.clusters["app"].endpoints[0].mix.secure = 1
    assert [one["name"] for one in ask(serving(scene), "GET")["clusters"]] == ["app"]


def test_answer_to_an_order_is_the_entry_of_its_cluster(authority: Authority) -> None:
    scene = Relaying(authority)
    answer = ask(serving(scene), "POST", {"cluster": "app", "wanted": "on", "percent": 5})
    assert (answer["name"], answer["wanted"], answer["percent"]) == ("app", "on", 5)
    client = scene.world.connect("web")
    client.send(GET)
    assert scene.accepted().secure, "at least one is encrypted"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"wanted": "on"},
        {"cluster": "app", "wanted": "yes"},
        {"cluster": "app", "wanted": "on", "percent": "5"},
        {"cluster": "app", "wanted": "on", "speed": 5},
        {"cluster": "app", "endpoint": ONE, "announces": "ssl"},
    ],
)
def test_body_that_is_no_order_is_not_taken(scene: Changing, body: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        ask(serving(scene), "POST", body)


@pytest.mark.parametrize(
    ("state", "gave_away", "text"),
    [
        ("handover", False, "a handover is under way: order it when it is over"),
        ("retired", True, "another generation took over meanwhile; ask that one"),
    ],
)
def test_generation_that_may_not_own_any_more_takes_no_order(
    scene: Changing, state: str, gave_away: bool, text: str
) -> None:
    generation = serving(scene, state, gave_away=gave_away)
    with pytest.raises(Busy, match=text):
        ask(generation, "POST", {"cluster": "app", "wanted": "on"})
    assert scene.about["wanted"] == "off"
    assert ask(generation, "GET")["clusters"], "looking is always possible"
