from __future__ import annotations

from typing import Any

import pytest

from vm_agent.errors import SpecError
from vm_agent.network.rules import Present, Ruleset, found, plan, settled, sidecar_of, table_of, transaction
from vm_agent.spec.model import Redirect, Run, Spec

FIRST = "tcp flags & (fin | syn | rst | ack) == syn"
IN = Redirect(mode="redirect", ports=(443, 80), to=15001)
OUT = Redirect(mode="redirect", ports=(80,), to=15002, direction="outbound")
TURNED = Redirect(mode="tproxy", ports=(80,), to=15002, direction="outbound", family="ipv4")


def spec(*redirects: Redirect, user: str = "hotswap", capabilities: tuple[str, ...] = ()) -> Spec:
    run = Run(user=user, capabilities=capabilities)
    return Spec(name="edge", release="1", config="/etc/edge.yaml", run=run, intercept=redirects, file="edge.yaml")


def rules(ruleset: Ruleset) -> dict[str, tuple[str, ...]]:
    return {chain.name: chain.rules for chain in ruleset.chains}


def there(ruleset: Ruleset) -> dict[str, Present]:
    """As the kernel would list it."""
    return {
        one.name: Present(one.kind, one.hook, one.priority, tuple(mark for _, mark in one.marked_rules))
        for one in ruleset.chains
    }


@pytest.mark.parametrize("name", ["edge", "edge-1", "edge_1", "edge.1", "_2d", "Edge", "-"])
def test_every_name_has_a_table_of_its_own(name: str) -> None:
    assert sidecar_of(table_of(name)) == name
    assert table_of(name).replace("_", "").isalnum()


def test_names_that_look_alike_do_not_meet() -> None:
    names = ["edge-1", "edge_1", "edge.1", "edge_2d1", "edge1"]
    assert len({table_of(name) for name in names}) == len(names)


@pytest.mark.parametrize("table", ["filter", "hotswap", "hotswap_edge_zz", "hotswap_edge-1"])
def test_tables_of_others_belong_to_no_sidecar(table: str) -> None:
    assert sidecar_of(table) == ""


def test_nothing_to_intercept_needs_nothing() -> None:
    wanted = plan(spec())
    assert (wanted.chains, wanted.routed, wanted.targets) == ((), (), ())
    assert transaction(settled(wanted, None), None) == ""


def test_what_comes_in_for_this_machine_is_redirected() -> None:
    wanted = plan(spec(IN))
    assert rules(wanted) == {
        "redirected": (
            f"fib daddr type local meta nfproto ipv4 tcp dport {{ 80, 443 }} {FIRST} redirect to :15001",
            f"fib daddr type local meta nfproto ipv6 tcp dport {{ 80, 443 }} {FIRST} redirect to :15001",
        ),
        "tracked": ("ct state established accept",),
    }
    assert wanted.routed == ()
    assert wanted.targets == (("ipv4", 15001), ("ipv6", 15001))


def test_what_goes_out_is_redirected_but_for_the_sidecars_own() -> None:
    (rule, _) = rules(plan(spec(OUT)))["sent"]
    own = 'oifname != "lo" meta mark != 0x4853 meta skuid != "hotswap"'
    assert rule == f"{own} meta nfproto ipv4 tcp dport {{ 80 }} {FIRST} redirect to :15002"


def test_without_a_user_the_mark_alone_tells_its_own() -> None:
    (rule, _) = rules(plan(spec(OUT, user="", capabilities=("CAP_NET_ADMIN",))))["sent"]
    assert "skuid" not in rule


def test_tproxy_turns_round_first_packets_and_then_the_rest_of_the_connection() -> None:
    wanted = plan(spec(TURNED))
    first, rest = rules(wanted)["marked"]
    assert first.endswith("tcp dport { 80 } " + FIRST + " ct mark set 0x4854")
    assert rest == 'oifname != "lo" ct direction original ct mark 0x4854 meta mark set 0x4854'
    (there,) = rules(wanted)["tproxied"]
    assert there.startswith('iifname "lo" meta mark 0x4854 meta nfproto ipv4 tcp dport { 80 } tproxy ip to :15002 ')
    assert wanted.routed == ("ipv4",)


def test_tproxy_of_what_comes_in_leaves_loopback_alone() -> None:
    wanted = plan(spec(Redirect(mode="tproxy", ports=(80,), to=15001)))
    assert all(rule.startswith('iifname != "lo" fib daddr type local ') for rule in rules(wanted)["tproxied"])
    assert wanted.routed == ("ipv4", "ipv6")


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (spec(IN, IN), "intercept[1].ports: 443 is led somewhere by intercept[0] already"),
        (spec(Redirect(mode="redirect", ports=(80,), to=80)), "intercept[0].ports: 80 is where the sidecar listens"),
        (spec(Redirect(mode="redirect", ports=(80,), to=81, exempt_mark=0x4854)), "intercept[0].exempt_mark: 0x4854"),
        (spec(OUT, user="x; flush ruleset"), "run.user: 'x; flush ruleset' is no name of a user"),
        (spec(OUT, user=""), "intercept[0].direction: the sidecar's own connections could not be told apart"),
    ],
)
def test_what_contradicts_itself_is_refused(wrong: Spec, problem: str) -> None:
    with pytest.raises(SpecError) as caught:
        plan(wrong)
    assert problem in str(caught.value)


def test_both_families_may_go_to_different_ports() -> None:
    four = Redirect(mode="redirect", ports=(80,), to=15001, family="ipv4")
    six = Redirect(mode="redirect", ports=(80,), to=15006, family="ipv6")
    assert len(rules(plan(spec(four, six)))["redirected"]) == 2


def test_a_first_transaction_makes_table_chains_and_rules() -> None:
    text = transaction(plan(spec(IN)), None)
    assert text.splitlines()[:3] == [
        "add table inet hotswap_edge",
        "add chain inet hotswap_edge redirected { type nat hook prerouting priority -100; policy accept; }",
        "flush chain inet hotswap_edge redirected",
    ]
    assert text.count("add rule") == 3
    assert "delete" not in text


def test_what_is_there_already_is_not_written_again() -> None:
    wanted = plan(spec(IN, OUT, Redirect(mode="tproxy", ports=(81,), to=1)))
    assert transaction(settled(wanted, there(wanted)), there(wanted)) == ""


def test_only_chains_that_change_are_written_and_none_is_replaced() -> None:
    before = there(plan(spec(IN, OUT)))
    wanted = plan(spec(Redirect(mode="redirect", ports=(80,), to=16000), OUT))
    text = transaction(settled(wanted, before), before)
    assert "flush chain inet hotswap_edge redirected" in text
    assert "sent" not in text
    assert "delete" not in text


@pytest.mark.parametrize(
    "comments",
    [(), ("hotswap 0000", "hotswap 1111"), ("",)],
    ids=["flushed", "others", "somebody else's"],
)
def test_rules_that_somebody_changed_are_written_again(comments: tuple[str, ...]) -> None:
    wanted = plan(spec(IN))
    before = there(wanted)
    before["redirected"] = Present("nat", "prerouting", -100, comments)
    assert "flush chain inet hotswap_edge redirected" in transaction(wanted, before)


def test_a_chain_of_another_kind_is_replaced_and_one_that_nobody_knows_is_removed() -> None:
    wanted = plan(spec(IN))
    before = there(wanted)
    before["redirected"] = Present("nat", "prerouting", -90, before["redirected"].comments)
    before["odd"] = Present("", "", 0, ())
    lines = transaction(wanted, before).splitlines()
    first = {" ".join(line.split()[:2]): number for number, line in reversed(list(enumerate(lines)))}
    assert first["delete chain"] < first["add chain"]
    assert lines[-2:] == ["flush chain inet hotswap_edge odd", "delete chain inet hotswap_edge odd"]


def test_rules_that_are_dropped_leave_what_their_connections_need() -> None:
    before = there(plan(spec(IN, TURNED)))
    rest = settled(plan(spec()), before)
    assert rules(rest) == {
        "redirected": (),
        "tproxied": (),
        "marked": ('oifname != "lo" ct direction original ct mark 0x4854 meta mark set 0x4854',),
        "tracked": ("ct state established accept",),
    }
    assert rest.routed == ("ipv4", "ipv6")
    assert transaction(settled(plan(spec()), there(rest)), there(rest)) == ""


def test_a_listing_is_read_by_comments_and_of_one_table_only() -> None:
    chain = {"family": "inet", "table": "hotswap_edge", "name": "sent", "type": "nat", "hook": "output", "prio": -100}
    rule = {"family": "inet", "table": "hotswap_edge", "chain": "sent", "handle": 4, "expr": []}
    listing: dict[str, Any] = {
        "nftables": [
            {"metainfo": {"version": "1.0.6"}},
            {"table": {"family": "ip", "name": "hotswap_edge"}},
            {"table": {"family": "inet", "name": "hotswap_edge"}},
            {"chain": chain},
            {"chain": {**chain, "table": "other"}},
            {"rule": {**rule, "comment": "hotswap 12"}},
            {"rule": rule},
            {"rule": {**rule, "table": "other"}},
        ]
    }
    assert found(listing, "hotswap_edge") == {"sent": Present("nat", "output", -100, ("hotswap 12", ""))}
    assert found(listing, "hotswap_core") is None
