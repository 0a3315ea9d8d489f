"""The proxy as a unit of a real systemd: reloads, crashes, hangs, stops. The figures are printed."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from statistics import median
from typing import Any

import pytest

from hotswap.errors import Superseded
from tests.kit.load import Plan
from tests.kit.site import PATIENCE, RAW, SECURE_RAW, SECURE_WEB, WEB, Site
from tests.kit.waiting import eventually

# Twice: plain and TLS make 200 connections.
CROWD = Plan(busy=60, idle=20, raw=20, rate=200, raw_rate=80)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("site")) as booted:
        yield booted


@pytest.fixture
def site(machine: Site) -> Iterator[Site]:
    machine.configure()
    yield machine
    print(machine.machine.journal(machine.unit)[-6000:])
    machine.end()


def healthy(site: Site, *, restarts: int = 0) -> None:
    """systemd has nothing to complain of."""
    shown = site.show("ActiveState", "SubState", "NRestarts", "Result", "MainPID")
    assert shown == {
        "ActiveState": "active",
        "SubState": "running",
        "NRestarts": str(restarts),
        "Result": "success",
        "MainPID": str(site.serving_pid()),
    }
    assert site.machine.run("systemctl", "list-units", "--failed", "--plain", "--no-legend") == ""


# -- reloads -----------------------------------------------------------------------------------------------------------


def test_a_reload_is_a_lossless_upgrade(site: Site) -> None:
    pids = [site.start()]
    with ExitStack() as exits:
        loads = [exits.enter_context(site.load(CROWD, tls=tls)) for tls in (False, True)]
        for _ in range(3):
            site.machine.run("systemctl", "reload", site.unit)
            pids.append(site.wait_settled(unlike=pids[-1]))
            for load in loads:
                load.turn()
        for load in loads:
            report = load.finish()
            print(report.summary())
            assert report.failures == []
            assert sum(report.connected.values()) == 100
    assert len(set(pids)) == 4
    assert site.status()["generation"] == 4
    healthy(site)
    assert site.show("NFileDescriptorStore") == {"NFileDescriptorStore": "4"}


@pytest.mark.all
def test_a_broken_configuration_fails_the_reload_and_nothing_else(site: Site) -> None:
    pid = site.start()
    with site.load(CROWD) as load:
        site.configure(lambda config: config["listeners"][0].update(protocol="gopher"))
        refused = site.machine.attempt("systemctl", "reload", site.unit)
        assert refused.returncode != 0
        eventually(lambda: "gopher" in site.machine.journal(site.unit), within=10, what="the journal has the reason")
        load.turn()
        assert load.finish().failures == []
    assert site.wait_settled() == pid
    healthy(site)


@pytest.mark.all
def test_a_reload_that_drops_a_listener_takes_it_out_of_the_store(site: Site) -> None:
    site.start()
    assert site.show("NFileDescriptorStore") == {"NFileDescriptorStore": "4"}

    def one_less(config: dict[str, Any]) -> None:
        config["listeners"] = [one for one in config["listeners"] if one["address"] != RAW]

    site.configure(one_less)
    site.machine.run("hotswap", "reload", "edge")  # in place
    eventually(lambda: stored(site) == 3, within=PATIENCE, what="three are stored")
    with pytest.raises(ConnectionRefusedError):
        site.client(RAW)
    site.configure()
    site.machine.run("hotswap", "reload", "edge")
    eventually(lambda: stored(site) == 4, within=PATIENCE, what="four are stored")
    site.configure(one_less)
    site.machine.run("systemctl", "reload", site.unit)  # by an upgrade
    eventually(lambda: stored(site) == 3, within=PATIENCE, what="three are stored")
    eventually(lambda: refused(site, RAW), within=PATIENCE, what="it refuses")
    healthy(site)


def stored(site: Site) -> int:
    return int(site.show("NFileDescriptorStore")["NFileDescriptorStore"])


def refused(site: Site, address: str) -> bool:
    try:
        site.client(address).close()
    except ConnectionRefusedError:
        return True
    return False


# -- crashes -----------------------------------------------------------------------------------------------------------


def test_after_a_crash_nobody_is_refused(site: Site) -> None:
    pid = site.start()
    times = []
    crashes = 5
    crowd = Plan(busy=20, fresh=10, raw=10, rate=100, fresh_rate=100, raw_rate=40, reconnect=True)
    with site.load(crowd) as load, site.load(crowd, tls=True) as other:
        for _ in range(crashes):
            site.kill(pid)
            began = time.monotonic()
            with site.client() as client:
                assert client.ask("/echo").status == 200
            times.append((time.monotonic() - began) * 1e3)
            pid = site.wait_settled(unlike=pid)
        reports = [one.finish() for one in (load, other)]
    for report in reports:
        print(report.summary(), report.of_cause("refused"))
        assert report.of_cause("refused") == []
    print(f"served again after {', '.join(f'{one:.0f}' for one in times)} ms; median {median(times):.0f} ms")
    healthy(site, restarts=crashes)


@pytest.mark.all
def test_one_that_hangs_is_replaced(site: Site) -> None:
    site.drop_in(site.unit, "[Service]\nWatchdogSec=1\n")
    pid = site.start()
    site.kill(pid, "STOP")
    with site.client() as client:
        assert client.ask("/echo").status == 200
    site.wait_settled(unlike=pid)
    healthy(site, restarts=1)
    assert "Watchdog timeout" in site.machine.journal(site.unit)


@pytest.mark.all
@pytest.mark.parametrize(
    "fault",
    [
        "source.copy_round.after:kill",
        "source.put_byte.after:kill",
        "source.retire.before:kill",
        "source.send_bye.before:kill",
        "destination.take_byte.after:kill",
        "destination.send_owned.after:kill",
        "destination.start.after:kill",
        "destination.send_released.before:kill",
    ],
)
def test_a_death_in_the_middle_of_an_upgrade_comes_out_right(site: Site, fault: str) -> None:
    """Another process is started by systemd while one of both serves: they find each other, and nobody is refused."""
    site.drop_in(site.unit, f"[Service]\nEnvironment=HOTSWAP_FAULTS={site.faults}\n")
    site.start()
    crowd = Plan(busy=10, fresh=10, rate=50, fresh_rate=100, reconnect=True)
    with site.load(crowd) as load:
        site.machine.install({site.faults: f"{fault}\n"})
        site.machine.attempt("systemctl", "reload", site.unit)
        site.machine.install({site.faults: ""})
        site.wait_settled()
        load.turn()
        report = load.finish()
    print(fault, report.summary(), site.show("NRestarts"))
    assert report.of_cause("refused") == []
    site.machine.run("systemctl", "reload", site.unit)
    site.wait_settled()
    assert int(site.show("NRestarts")["NRestarts"]) <= 2
    assert site.machine.run("systemctl", "list-units", "--failed", "--plain", "--no-legend") == ""


@pytest.mark.all
def test_one_that_a_later_build_superseded_is_not_started_again_and_again(site: Site) -> None:
    """What the unit starts is older than what serves, as in the bake of a release."""
    first = site.start()
    site.machine.run("cp", "/etc/hotswap/edge.yaml", "/etc/hotswap/before.yaml")
    site.configure(lambda config: config["listeners"][0].update(max_headers=77))
    site.machine.run("systemctl", "reload", site.unit)
    owner = site.wait_settled(unlike=first)
    late = site.machine.attempt(
        "systemd-run", "--quiet", "--pipe", "--collect", "--uid=hotswap", "--setenv=HOTSWAP_RUNTIME_DIR=/run/hotswap",
        "hotswap", "run", "-c", "/etc/hotswap/before.yaml", "--takeover=auto",
    )  # fmt: skip
    assert late.returncode == Superseded.exit_code, late.stdout
    assert site.wait_settled() == owner
    healthy(site)


# -- start and stop ----------------------------------------------------------------------------------------------------


@pytest.mark.all
@pytest.mark.parametrize("reloads", [0, 2])
def test_a_stop_drains(site: Site, reloads: int) -> None:
    """Also one that systemd did not start itself."""
    pid = site.start()
    for _ in range(reloads):
        site.machine.run("systemctl", "reload", site.unit)
        pid = site.wait_settled(unlike=pid)
    token = f"stop{reloads}"
    with site.client() as client:
        client.get(f"/hold?token={token}")
        site.upstreams.held(token)
        site.machine.run("systemctl", "stop", "--no-block", site.unit)
        eventually(lambda: refused(site, WEB), within=PATIENCE, what="it accepts nobody any more")
        assert site.show("ActiveState") == {"ActiveState": "deactivating"}
        site.upstreams.release(token)
        assert client.response().status == 200
    eventually(lambda: site.show("ActiveState")["ActiveState"] == "inactive", within=PATIENCE, what="it ended")
    assert site.show("Result", "NFileDescriptorStore") == {"Result": "success", "NFileDescriptorStore": "0"}


@pytest.mark.all
def test_a_drain_may_take_longer_than_the_unit_allows(site: Site) -> None:
    site.drop_in(site.unit, "[Service]\nTimeoutStopSec=1\n")
    site.start()
    with site.client() as client:
        client.get("/stream?seconds=3&every=0.1&size=10&chunked=1")
        client.head()
        site.machine.run("systemctl", "stop", site.unit)
        assert client.rest().endswith(b"0\r\n\r\n")
    assert site.show("Result") == {"Result": "success"}


@pytest.mark.all
def test_the_first_client_starts_it(site: Site) -> None:
    addresses = "".join(f"ListenStream={one}\n" for one in (WEB, RAW, SECURE_WEB, SECURE_RAW))
    site.drop_in("hotswap-proxy@edge.socket", f"[Socket]\nListenStream=\n{addresses}")
    site.machine.run("systemctl", "start", "hotswap-proxy@edge.socket")
    assert site.show("ActiveState") == {"ActiveState": "inactive"}
    with site.client() as client:
        assert client.ask("/echo").status == 200
    pid = site.wait_settled()
    site.machine.run("systemctl", "reload", site.unit)
    pid = site.wait_settled(unlike=pid)
    site.kill(pid)
    with site.client() as client:  # the socket unit's and the store's are the same ones
        assert client.ask("/echo").status == 200
    site.wait_settled(unlike=pid)
    assert stored(site) == 4
    healthy(site, restarts=1)


@pytest.mark.all
def test_what_it_has_no_use_for_is_closed(site: Site) -> None:
    site.drop_in(
        "hotswap-proxy@edge.socket", f"[Socket]\nListenStream=\nListenStream={WEB}\nListenStream=127.0.0.1:99\n"
    )
    site.machine.run("systemctl", "start", "hotswap-proxy@edge.socket", site.unit)
    site.wait_settled()
    assert stored(site) == 4
    eventually(lambda: "address=127.0.0.1:99" in site.machine.journal(site.unit), within=10, what="it says so")


# -- what it may do ----------------------------------------------------------------------------------------------------


@pytest.mark.all
def test_it_has_one_capability_left(site: Site) -> None:
    pid = site.start()
    for _ in range(2):
        status = site.machine.run("cat", f"/proc/{pid}/status")
        sets = dict(re.findall(r"^Cap(Inh|Prm|Eff|Bnd|Amb):\s+([0-9a-f]+)$", status, flags=re.MULTILINE))
        assert {int(one, 16) for one in sets.values()} == {1 << 10}  # CAP_NET_BIND_SERVICE
        assert re.search(r"^NoNewPrivs:\s+1$", status, flags=re.MULTILINE)
        site.machine.run("systemctl", "reload", site.unit)
        pid = site.wait_settled(unlike=pid)


def test_the_units_are_correct_and_closed(site: Site) -> None:
    units = ("hotswap-proxy@.service", "hotswap-proxy@.socket", "hotswap-agent.service")
    said = site.machine.run("systemd-analyze", "verify", *(f"/etc/systemd/system/{one}" for one in units))
    assert said == ""
    for unit in (site.unit, "hotswap-agent.service"):
        said = site.machine.run("systemd-analyze", "security", "--no-pager", unit, check=False)
        exposure = re.search(r"exposure level for .*: ([0-9.]+)", said)
        assert exposure, said
        print(f"{unit}: exposure {exposure[1]}")
        assert float(exposure[1]) <= 3.0
