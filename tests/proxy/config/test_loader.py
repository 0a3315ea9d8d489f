from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hotswap.address import Address
from hotswap.errors import ConfigError
from hotswap.settings.problems import InvalidConfig
from proxy.config.loader import load, load_with_warnings, loads
from proxy.config.model import (
    ClusterConfig,
    Config,
    EndpointConfig,
    ListenerConfig,
    MatchConfig,
    RouteConfig,
    UpgradeConfig,
)

EXAMPLE = Path(__file__).parents[3] / "examples" / "edge.yaml"

GOOD = """\
name: edge
listeners:
  - name: web
    address: 127.0.0.1:8080
    protocol: http1
    routes:
      - match: {prefix: /}
        cluster: app
clusters:
  - name: app
    endpoints: [127.0.0.1:9000]
"""


def problems(text: str) -> list[str]:
    with pytest.raises(InvalidConfig) as raised:
        loads(text, "edge.yaml")
    return str(raised.value).splitlines()


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


def warnings(text: str) -> list[str]:
    return [warning.at("edge.yaml") for warning in loads(text).warnings]


def test_good_file_has_no_problems() -> None:
    assert loads(GOOD).warnings == ()


def test_example_is_read_as_it_is_meant() -> None:
    loaded = load_with_warnings(EXAMPLE)
    assert loaded.warnings == ()
    assert loaded.config == Config(
        name="edge",
        admin=Address.parse("127.0.0.1:9901"),
        listeners=(
            ListenerConfig(
                name="web",
                address=Address.parse("127.0.0.1:8080"),
                protocol="http1",
                keepalive_timeout=75.0,
                header_timeout=10.0,
                max_body=100 * 1024 * 1024,
                routes=(
                    RouteConfig(match=MatchConfig(host="api.example.com", prefix="/v1"), cluster="api"),
                    RouteConfig(match=MatchConfig(path="/health", headers=(("x-probe", "1"),)), cluster="api"),
                    RouteConfig(match=MatchConfig(prefix="/"), cluster="app"),
                ),
            ),
            ListenerConfig(
                name="db",
                address=Address.parse("127.0.0.1:5432"),
                protocol="tcp",
                routes=(RouteConfig(cluster="db"),),
            ),
        ),
        clusters=(
            ClusterConfig(
                name="app",
                endpoints=(endpoint("127.0.0.1:9000"), endpoint("127.0.0.1:9001")),
                balance="round_robin",
                connect_timeout=1.0,
                request_timeout=30.0,
                idle_timeout=300.0,
            ),
            ClusterConfig(
                name="api",
                endpoints=(endpoint("127.0.0.1:9100", 3), endpoint("127.0.0.1:9101", 1)),
                balance="weighted",
            ),
            ClusterConfig(
                name="db",
                endpoints=(endpoint("127.0.0.1:15432"),),
                balance="least_request",
                connect_timeout=1.0,
                idle_timeout=3600.0,
            ),
        ),
        upgrade=UpgradeConfig(deadline=30.0),
    )


def endpoint(address: str, weight: int = 1) -> EndpointConfig:
    return EndpointConfig(address=Address.parse(address), weight=weight)


def test_cluster_of_an_http1_listener_is_short_for_a_route_that_takes_everything() -> None:
    text = changed("    routes:\n      - match: {prefix: /}\n        cluster: app\n", "    cluster: app\n")
    assert loads(text).config.listeners[0].routes == (RouteConfig(cluster="app", match=MatchConfig()),)


def test_json_is_yaml() -> None:
    text = """{"name": "x", "listeners": [{"name": "a", "address": "[::1]:80", "protocol": "tcp", "cluster": "c"}],
    "clusters": [{"name": "c", "endpoints": ["unix:/run/c.sock"], "max_idle": 0}]}"""
    config = loads(text).config
    assert str(config.listeners[0].address) == "[::1]:80"
    assert str(config.clusters[0].endpoints[0].address) == "unix:/run/c.sock"


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("1ms", 0.001), ("0.5s", 0.5), ("30s", 30.0), ("1.5m", 90.0), ("2h", 7200.0), ("1d", 86400.0), ('"7s"', 7.0)],
)
def test_durations_have_a_unit(written: str, seconds: float) -> None:
    config = loads(changed("[127.0.0.1:9000]", f"[127.0.0.1:9000]\n    max_duration: {written}")).config
    assert config.clusters[0].max_duration == pytest.approx(seconds)


@pytest.mark.parametrize(("written", "size"), [("1", 1), ("4096", 4096), ("2KB", 2048), ("1GB", 1 << 30)])
def test_sizes_may_have_a_unit(written: str, size: int) -> None:
    config = loads(changed("protocol: http1", f"protocol: http1\n    max_body: {written}")).config
    assert config.listeners[0].max_body == size


def test_hosts_and_header_names_have_no_case() -> None:
    config = loads(changed("{prefix: /}", "{host: API.Example.com, headers: {X-Version: Beta}}")).config
    assert config.listeners[0].routes[0].match == MatchConfig(host="api.example.com", headers=(("x-version", "Beta"),))


def mistakes() -> list[Any]:
    """The blocks of mistakes.txt as (text, expected line)."""
    blocks = Path(__file__).with_name("mistakes.txt").read_text().split("\n\n")[1:]
    return [mistake(block.strip().splitlines()) for block in blocks]


def mistake(block: list[str]) -> Any:
    old = "".join(f"{line[1:]}\n" for line in block if line.startswith("-"))
    new = "".join(f"{line[1:]}\n" for line in block if line.startswith("+"))
    expected = block[-1].removeprefix("=")
    return pytest.param(changed(old, new), f"edge.yaml:{expected}", id=expected[:60])


@pytest.mark.parametrize(("text", "line"), mistakes())
def test_mistake_names_line_key_and_remedy(text: str, line: str) -> None:
    assert problems(text) == [line]


def test_all_mistakes_are_reported_in_one_go_in_the_order_of_lines() -> None:
    text = (
        GOOD.replace("edge", "a b").replace("http1", "htp1").replace("cluster: app", "cluster: ap").replace("9000", "x")
    )
    assert [line.split(" ")[1] for line in problems(text)] == [
        "name:",
        "listeners[0].protocol:",
        "listeners[0].routes[0].cluster:",
        "clusters[0].endpoints[0]:",
    ]


def test_names_of_listeners_and_clusters_are_unique() -> None:
    text = GOOD.replace("clusters:", '  - {name: web, address: "127.0.0.1:81", protocol: tcp, cluster: app}\nclusters:')
    assert problems(text) == [
        "edge.yaml:9: listeners[1].name: the listener in line 3 is called web too; choose another name"
    ]


def test_tcp_listener_needs_a_cluster() -> None:
    text = GOOD.replace("clusters:", '  - {name: t, address: "127.0.0.1:81", protocol: tcp}\nclusters:')
    assert problems(text) == ["edge.yaml:9: listeners[1]: cluster is missing; add cluster: NAME, where connections go"]


def test_http1_listener_needs_routes() -> None:
    text = GOOD.replace("clusters:", '  - {name: t, address: "127.0.0.1:81", protocol: http1}\nclusters:')
    assert problems(text) == [
        "edge.yaml:9: listeners[1]: routes are missing; add routes, or cluster: NAME for all requests"
    ]


def test_http1_keys_are_refused_on_a_tcp_listener() -> None:
    line = '  - {name: t, address: "127.0.0.1:81", protocol: tcp, cluster: app, max_body: 1}'
    [problem] = problems(GOOD.replace("clusters:", f"{line}\nclusters:"))
    assert problem.startswith("edge.yaml:9: listeners[1].max_body: max_body has no meaning for protocol tcp; remove it")


def test_same_port_on_ipv4_and_ipv6_does_not_collide() -> None:
    line = '  - {name: t, address: "[::]:8080", protocol: tcp, cluster: app}'
    assert loads(GOOD.replace("clusters:", f"{line}\nclusters:")).warnings == ()


@pytest.mark.parametrize("match", ["{prefix: /}", "{}"])
def test_route_behind_one_that_takes_everything_is_a_warning(match: str) -> None:
    text = changed("match: {prefix: /}", f"match: {match}").replace(
        "clusters:", "      - match: {path: /x}\n        cluster: app\nclusters:"
    )
    [warning] = warnings(text)
    assert warning.startswith(
        "edge.yaml:9: listeners[0].routes[1]: never reached: listeners[0].routes[0] in line 7 takes"
    )


@pytest.mark.parametrize(
    ("first", "second", "covered"),
    [
        ("{}", "{host: a}", True),
        ("{prefix: /v1}", "{prefix: /v1/x}", True),
        ("{prefix: /v1/}", "{prefix: /v1}", True),
        ("{prefix: /v1}", "{path: /v1}", True),
        ("{prefix: /v1}", "{prefix: /v10}", False),
        ("{prefix: /v1}", "{prefix: /}", False),
        ("{path: /a}", "{path: /a, headers: {x: y}}", True),
        ("{path: /a, headers: {x: y}}", "{path: /a}", False),
        ("{path: /a}", "{prefix: /a}", False),
        ("{host: a}", "{host: A, path: /x}", True),
        ("{host: a}", "{path: /x}", False),
        ("{host: '*.a'}", "{host: b.a}", True),
        ("{host: '*.a'}", "{host: '*.b.a'}", True),
        ("{host: '*.a'}", "{host: a}", False),
        ("{host: b.a}", "{host: '*.a'}", False),
    ],
)
def test_route_is_never_reached_if_an_earlier_one_takes_all_of_its_requests(
    first: str, second: str, covered: bool
) -> None:
    routes = f"      - {{match: {first}, cluster: app}}\n      - {{match: {second}, cluster: app}}\n"
    text = changed("      - match: {prefix: /}\n        cluster: app\n", routes)
    assert bool(warnings(text)) is covered


def test_unused_cluster_and_unused_weight_are_warnings() -> None:
    text = GOOD + "  - {name: spare, endpoints: [{address: 127.0.0.1:1, weight: 2}]}\n"
    assert warnings(text) == [
        "edge.yaml:12: clusters[1].endpoints[0].weight: the weight is not used; write balance: weighted",
        "edge.yaml:12: clusters[1].name: no listener uses the cluster spare; remove it, or add a route to it",
    ]


def test_warnings_forbid_nothing_in_load(tmp_path: Path) -> None:
    path = tmp_path / "edge.yaml"
    path.write_text(GOOD + "  - {name: spare, endpoints: [127.0.0.1:1]}\n")
    assert load(path).name == "edge"


def test_file_that_cannot_be_read_is_a_config_error(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ConfigError, match=r"cannot be read: .*; name a readable file after -c"):
            load(path)


def test_file_in_another_encoding_is_a_config_error(tmp_path: Path) -> None:
    path = tmp_path / "edge.yaml"
    path.write_bytes(b"name: edge\n# \xe4\n")
    with pytest.raises(ConfigError, match=r"edge.yaml:2: not UTF-8; save the file in that encoding"):
        load(path)


def test_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "edge.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert load(path).name == "edge"


def test_huge_file_is_not_read_to_its_end() -> None:
    with pytest.raises(ConfigError, match="larger than 1 MB"):
        load(Path("/dev/zero"))
