"""Rules in network namespaces of the test's own: what they lead where, and when they are touched."""

from __future__ import annotations

import pwd
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import prctl
import pytest

from tests.kit.networks import Network, Networks, command
from tests.kit.programs import program
from tests.vm_agent.network.answering import Answering, Caller, Callers, called
from vm_agent.errors import InterceptionFailed
from vm_agent.network import interception, policy_routes
from vm_agent.network.rules import Ruleset, plan
from vm_agent.spec.model import Redirect, Run, Spec

pytestmark = pytest.mark.all

HOSTS = ("10.77.0.2", "fd77::2")


def wanted(*redirects: Redirect, name: str = "edge", user: str = "") -> Ruleset:
    run = Run(user=user, capabilities=("CAP_NET_ADMIN",))
    return plan(Spec(name=name, release="1", config="/etc/edge.yaml", run=run, intercept=redirects))


def to(port: int) -> Redirect:
    return Redirect(mode="redirect", ports=(8080,), to=port)


TPROXY = Redirect(mode="tproxy", ports=(8081,), to=15001)


@pytest.fixture
def exits() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def there(networks: Networks, exits: ExitStack) -> Network:
    """A machine that serves at 8080 itself, and has two other servers."""
    for name, port in (("direct", 8080), ("first", 15001), ("second", 15002)):
        exits.enter_context(Answering(networks.proxy, name, port))
    return networks.proxy


def apply(network: Network, ruleset: Ruleset) -> bool:
    return network.run(interception.apply, ruleset)


def listed(network: Network, *what: str) -> str:
    """With handles, which are new for whatever is written anew."""
    argv = ["ip", "netns", "exec", network.name, *what]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def rules_of(network: Network) -> str:
    return listed(network, "nft", "-a", "list", "ruleset")


def everything(network: Network) -> list[str]:
    """Rules and routes, but for those of link-local addresses, which come when they like."""
    routes = ["route", "show", "table", "all"]
    asked = [["ip", family, *what] for family in ("-4", "-6") for what in (["rule"], routes)]
    lines = [line for argv in asked for line in listed(network, *argv).splitlines()]
    return [rules_of(network), *(line for line in lines if "fe80" not in line and "ff00" not in line)]


@pytest.mark.parametrize("host", HOSTS)
def test_a_redirect_is_turned_to_another_port_and_no_connection_fails_or_slips_through(
    networks: Networks, there: Network, host: str
) -> None:
    assert networks.client.run(called, host, 8080) == "direct"
    assert apply(there, wanted(to(15001)))
    with Callers(networks.client, host, 8080) as one, Callers(networks.client, host, 8080) as other:
        for turn in range(20):
            expected = ("second", "first")[turn % 2]
            assert apply(there, wanted(to(15002 - turn % 2)))
            for callers in (one, other):
                assert callers.more(10).keys() == {expected}
    assert one.failures == other.failures == []
    assert (one.answers + other.answers).keys() == {"first", "second"}


def test_connections_stay_where_they_are_when_rules_turn_and_when_they_are_dropped(
    networks: Networks, there: Network, exits: ExitStack
) -> None:
    direct = networks.client.run(Caller, HOSTS[0], 8080)
    exits.callback(direct.close)
    apply(there, wanted(to(15001)))
    callers = [networks.client.run(Caller, host, 8080) for host in HOSTS]
    for caller in callers:
        exits.callback(caller.close)
    assert direct.echo(), "it was there before the rules"
    for ruleset in (wanted(to(15002)), wanted()):
        apply(there, ruleset)
        assert [caller.name for caller in callers if caller.echo()] == ["first", "first"]
    assert networks.client.run(called, HOSTS[0], 8080) == "direct"
    assert there.run(interception.present, wanted())
    assert there.run(interception.sidecars) == ("edge",), "for connections that go on"
    assert there.run(interception.remove, "edge")
    assert "table" not in rules_of(there)
    assert not there.run(interception.remove, "edge")


def test_what_is_as_it_should_be_is_not_written(there: Network) -> None:
    ruleset = wanted(to(15001), TPROXY)
    assert not there.run(interception.present, ruleset)
    assert apply(there, ruleset)
    before = rules_of(there)
    assert there.run(interception.present, ruleset)
    assert not apply(there, ruleset)
    assert rules_of(there) == before


def test_what_somebody_took_away_is_put_back(networks: Networks, there: Network) -> None:
    ruleset = wanted(to(15001), TPROXY)
    apply(there, ruleset)
    there.rules("flush chain inet hotswap_edge redirected")
    assert not there.run(interception.present, ruleset)
    assert apply(there, ruleset)
    assert networks.client.run(called, HOSTS[0], 8080) == "first"
    command("ip", "-n", there.name, "route", "flush", "table", str(policy_routes.TABLE))
    assert not there.run(interception.present, ruleset)
    assert apply(there, ruleset)
    assert there.run(interception.present, ruleset)
    there.rules("delete table inet hotswap_edge")
    assert apply(there, ruleset)
    assert networks.client.run(called, HOSTS[0], 8080) == "first"


def test_tables_rules_and_routes_of_others_are_left_alone(there: Network) -> None:
    there.rules("table inet hotswap {\nchain redirected { type nat hook prerouting priority -99; }\n}")
    before = everything(there)
    for name in ("edge", "edge-1"):
        apply(there, wanted(TPROXY, name=name))
    assert there.run(interception.sidecars) == ("edge", "edge-1")
    assert "proto 72" in listed(there, "ip", "rule")
    there.run(interception.remove, "edge-1")
    assert "proto 72" in listed(there, "ip", "rule"), "the other sidecar needs it"
    there.run(interception.remove, "edge")
    assert everything(there) == before


def test_rules_that_lead_to_a_closed_port_are_refused_and_the_old_ones_stay(networks: Networks, there: Network) -> None:
    apply(there, wanted(to(15001)))
    before = rules_of(there)
    with pytest.raises(InterceptionFailed, match=r"nobody listens at port 15009 by ipv4, .*`family: ipv6`"):
        apply(there, wanted(to(15009)))
    assert rules_of(there) == before
    assert networks.client.run(called, HOSTS[0], 8080) == "first"


def test_what_the_kernel_refuses_changes_nothing(there: Network) -> None:
    apply(there, wanted(to(15001)))
    before, routes = rules_of(there), listed(there, "ip", "rule")
    outbound = Redirect(mode="tproxy", ports=(80,), to=15001, direction="outbound")
    with pytest.raises(InterceptionFailed) as caught:
        apply(there, wanted(to(15002), outbound, user="no-such-user"))
    assert "nftables: User does not exist, at: add rule inet hotswap_edge" in str(caught.value)
    assert "correct run.user" in str(caught.value)
    assert rules_of(there) == before
    assert listed(there, "ip", "rule") == routes, "nor the routes that it would have needed"


@pytest.mark.parametrize(("redirect", "what"), [(to(15001), "nftables"), (TPROXY, "policy routes")])
def test_without_the_right_to_it_the_error_says_which_is_missing(there: Network, redirect: Redirect, what: str) -> None:
    def powerless() -> None:
        # Of this thread, and of what it starts.
        prctl.capbset.net_admin = False
        prctl.cap_effective.net_admin = False
        assert not interception.apply(wanted())
        assert not interception.remove("edge")
        if what == "nftables":
            interception.apply(wanted(redirect))
        else:
            policy_routes.ensure(["ipv4"])

    with pytest.raises(InterceptionFailed, match=f"{what}.*not permitted.*the agent needs CAP_NET_ADMIN"):
        there.run(powerless)


def test_a_default_route_of_somebody_else_in_the_table_is_not_taken_for_ours(there: Network) -> None:
    table = ["table", str(policy_routes.TABLE)]
    command("ip", "-n", there.name, "-6", "route", "add", "local", "default", "dev", "lo", "metric", "1024", *table)
    rules = listed(there, "ip", "rule")
    with pytest.raises(InterceptionFailed, match="somebody else has a default route in table 18516"):
        apply(there, wanted(TPROXY))
    assert listed(there, "ip", "rule") == rules, "IPv4 went well, and was taken back"
    assert "table" not in rules_of(there)


def test_what_a_sidecar_in_another_network_namespace_needs_is_done_there(
    networks: Networks, there: Network, exits: ExitStack
) -> None:
    holder = there.run(lambda: subprocess.Popen(["sleep", "100"]))
    exits.callback(holder.wait)
    exits.callback(holder.kill)
    assert interception.apply(wanted(to(15001)), holder.pid)
    assert interception.present(wanted(to(15001)), holder.pid)
    assert networks.client.run(called, HOSTS[0], 8080) == "first"
    assert interception.remove("edge", holder.pid)
    with pytest.raises(InterceptionFailed, match="the network namespace of process 4194304 cannot be entered"):
        interception.apply(wanted(), 1 << 22)


def test_what_goes_out_is_redirected_but_not_what_the_sidecars_user_sends(
    networks: Networks, there: Network, exits: ExitStack
) -> None:
    bash = program("bash")
    exits.enter_context(Answering(networks.client, "far", 8080))
    apply(there, wanted(Redirect(mode="redirect", ports=(8080,), to=15001, direction="outbound"), user="nobody"))
    uid = pwd.getpwnam("nobody").pw_uid

    def ask(user: int, host: str) -> str:
        argv = [bash, "-c", 'read -r name < "/dev/tcp/$0/8080" && echo "$name"', host]
        done = there.run(lambda: subprocess.run(argv, user=user, capture_output=True, text=True, check=False))
        return done.stdout.strip() or done.stderr

    for host in ("10.77.0.1", "fd77::1"):
        assert ask(0, host) == "first"
        assert ask(uid, host) == "far"
    assert ask(0, "127.0.0.1") == "direct", "what stays on this machine is not outbound"
