"""Certificates renewed on disk under a proxy that serves and is upgraded, with a client that was there before."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hotswap import errors
from tests.kit.certificates import Authority, Pair
from tests.kit.offspring import wait_for_stop
from tests.kit.processes import PATIENCE, Instance, finish_upgrade
from tests.kit.stage import Edge, Stage
from tests.kit.tls import TlsClient, client_context
from tests.kit.waiting import eventually

BROKEN = "files of TLS changed and cannot be used; what was read before stays"


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    """One of this test alone, which renews what it issued."""
    return Authority(tmp_path / "ca")


@pytest.fixture
def edge(stage: Stage, ca: Authority) -> Edge:
    return stage.edge(authority=ca)


def open_client(edge: Edge, ca: Authority) -> TlsClient:
    return TlsClient(edge.web, client_context(ca.file, "1.3"))


def shown(edge: Edge, ca: Authority) -> int:
    """The serial of the certificate that new clients see."""
    with open_client(edge, ca) as client:
        return int(str(dict(client.tls.getpeercert() or {})["serialNumber"]), 16)


def serial_of(ca: Authority) -> int:
    """Of what was issued last."""
    return Pair(ca.folder / "edge.pem", ca.folder / "edge.key").serial


def renewed(edge: Edge, ca: Authority) -> None:
    """Issue another certificate, and wait until it is shown."""
    serial = ca.issue("edge", days=60).serial
    eventually(lambda: shown(edge, ca) == serial, within=PATIENCE, what="the new certificate is shown")


def certificates(instance: Instance) -> list[str]:
    lines = [line.strip() for line in instance.hotswap("status", instance.name).stdout.splitlines()]
    return [line.removeprefix("certificates").strip() for line in lines if line.startswith("certificates")]


def test_each_generation_takes_what_is_renewed_and_who_is_there_stays(edge: Edge, ca: Authority) -> None:
    with open_client(edge, ca) as before:
        for _ in range(3):
            renewed(edge, ca)
            assert before.ask("/bytes?n=10").status == 200
            assert edge.instance.upgrade("--require-all").exit_code == 0
            assert before.ask("/bytes?n=10").status == 200
            assert shown(edge, ca) == serial_of(ca)


def test_renewal_in_the_middle_of_an_upgrade_is_not_missed(edge: Edge, ca: Authority) -> None:
    """The source is frozen and the new generation read its files before: nobody watches."""
    instance = edge.instance
    source = instance.status().pid
    instance.arm("source.freeze.after:stop")
    upgrade = instance.start_upgrade()
    wait_for_stop(source, within=PATIENCE)
    ca.issue("edge", days=60)
    instance.resume(source)
    assert finish_upgrade(upgrade).exit_code == 0
    eventually(lambda: shown(edge, ca) == serial_of(ca), within=PATIENCE, what="the new certificate is shown")


def test_broken_file_is_told_and_changes_nothing_until_it_is_mended(edge: Edge, ca: Authority) -> None:
    instance = edge.instance
    serial = shown(edge, ca)
    key = ca.folder / "edge.key"
    good = key.read_bytes()
    key.write_text("-----BEGIN PRIVATE KEY-----")
    eventually(lambda: BROKEN in instance.log_tail(), within=PATIENCE, what="a line in the log")
    assert f"{key} holds no private key" in instance.log_tail()
    assert shown(edge, ca) == serial
    refused = instance.hotswap("reload", "edge")
    assert refused.returncode == errors.ConfigError.exit_code
    assert f"listeners[0].tls.certificates[0].key: {key} holds no private key" in refused.stderr
    failed = instance.upgrade()
    assert failed.exit_code == errors.ConfigError.exit_code
    assert shown(edge, ca) == serial
    assert instance.status().generation == 1
    key.write_bytes(good)
    renewed(edge, ca)
    assert instance.upgrade("--require-all").exit_code == 0


def test_secret_of_kubernetes_is_renewed_by_its_link(stage: Stage, ca: Authority, tmp_path: Path) -> None:
    edge = Edge(stage, stage.upstreams(), authority=ca)
    mount = tmp_path / "mount"
    mount.mkdir()
    publish(ca, mount, "..one")
    for name in ("edge.pem", "edge.key"):
        (mount / name).symlink_to(f"..data/{name}")
    for listener in edge.instance.config["listeners"]:
        listener["tls"] = {"certificates": [{"cert": f"{mount}/edge.pem", "key": f"{mount}/edge.key"}]}
    edge.instance.write_config()
    edge.instance.start()
    first = shown(edge, ca)
    for version in ("..two", "..three"):
        ca.issue("edge")
        publish(ca, mount, version)
        eventually(lambda: shown(edge, ca) == serial_of(ca), within=PATIENCE, what="the new certificate is shown")
    assert shown(edge, ca) != first


def publish(ca: Authority, mount: Path, version: str) -> None:
    """As kubelet does: another directory, then the link to it, then the old one goes."""
    (mount / version).mkdir()
    for name in ("edge.pem", "edge.key"):
        shutil.copy(ca.folder / name, mount / version)
    (mount / "..tmp").symlink_to(version)
    old = (mount / "..data").resolve()
    (mount / "..tmp").rename(mount / "..data")
    if old.parent == mount and old.name != "..data":
        shutil.rmtree(old)


def test_status_tells_when_certificates_expire(edge: Edge, ca: Authority) -> None:
    instance = edge.instance
    told = instance.ask("/status")["server"]["certificates"]
    assert [(one["listener"], one["days_left"], one["serial"]) for one in told] == [
        (name, 29, f"{serial_of(ca):x}") for name in ("web", "raw")
    ]
    lines = certificates(instance)
    assert len(lines) == 2
    assert lines[0].startswith("web: edge.test, localhost, 127.0.0.1, ...; expires ")
    assert lines[0].endswith(f", in 29 days; {ca.folder}/edge.pem")
    renewed(edge, ca)
    assert "in 59 days" in certificates(instance)[0]
