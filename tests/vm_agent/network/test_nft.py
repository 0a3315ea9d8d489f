from __future__ import annotations

import subprocess
from typing import Any

import pytest

from vm_agent.errors import InterceptionFailed
from vm_agent.network import interception, nft
from vm_agent.network.nft import explained
from vm_agent.spec.model import Spec


@pytest.mark.parametrize(
    ("complaint", "expected"),
    [
        (
            "/dev/stdin:2:1-9: Error: Could not process rule: Operation not permitted\nadd table inet x\n^^^^^^^^^",
            "nftables: Could not process rule: Operation not permitted, at: add table inet x; the agent needs",
        ),
        (
            "netlink: Error: cache initialization failed: Operation not permitted\n",
            "nftables: cache initialization failed: Operation not permitted; the agent needs CAP_NET_ADMIN",
        ),
        (
            '/dev/stdin:1:9-9: Error: User does not exist\nadd rule inet x y meta skuid "z"\n        ^',
            'nftables: User does not exist, at: add rule inet x y meta skuid "z"; correct run.user, or make that user',
        ),
        (
            "/dev/stdin:1:1-1: Error: Could not process rule: No such file or directory\nadd rule inet x y tproxy\n",
            "nftables: Could not process rule: No such file or directory, at: add rule inet x y tproxy; the kernel",
        ),
        ("", "nftables: no reason was given; see `nft list ruleset` for what is there"),
    ],
)
def test_a_complaint_is_quoted_with_what_it_is_about_and_the_remedy(complaint: str, expected: str) -> None:
    assert explained(complaint).startswith(expected)


def test_without_the_program_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nft, "PROGRAM", "no-such-nft")
    with pytest.raises(InterceptionFailed, match="no-such-nft is missing: install nftables"):
        nft.run("add table inet x\n")


def test_one_that_hangs_is_an_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*arguments: Any, timeout: float, **options: Any) -> None:
        raise subprocess.TimeoutExpired("nft", timeout)

    monkeypatch.setattr(nft, "PROGRAM", "true")
    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(InterceptionFailed, match="nft did not end within 60 s"):
        nft.listing("tables")


def test_who_wants_no_rules_needs_neither_the_program_nor_a_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nft, "PROGRAM", "no-such-nft")
    nothing = interception.plan(Spec(name="edge", release="1", config="/etc/edge.yaml"))
    assert not interception.apply(nothing)
    assert interception.present(nothing)
    assert not interception.remove("edge")
    assert interception.sidecars() == ()
