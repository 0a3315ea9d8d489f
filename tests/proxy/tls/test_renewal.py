"""Renewed certificates: taken if they are good, told about if not, and never by halves."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from OpenSSL import SSL

from proxy.config.tls_model import ClientCertificatesConfig, ClusterTlsConfig
from proxy.tls.contexts import ClientContexts, ServerContexts
from proxy.tls.openssl import load_pair
from proxy.tls.renewal import Renewal, changed_files, renew, same
from tests.kit.certificates import Authority, Pair
from tests.proxy.manual_watch import ManualWatch
from tests.proxy.tls.shaking import client, cluster, config, listener, server, shake


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@pytest.fixture
def pair(ca: Authority) -> Pair:
    return ca.issue("edge")


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, dict[str, Any]]]:
    told = [(record.getMessage(), vars(record)["fields"]) for record in caplog.records]
    caplog.clear()
    return told


def serial(contexts: ServerContexts, ca: Authority) -> int:
    """Of the certificate that a client sees."""
    outcome = shake(contexts.connection(), client(str(ca.file)), "edge.test")
    assert outcome.done
    shown: Any = outcome.peer.getpeercert()
    return int(shown["serialNumber"], 16)


def test_nothing_new_is_nothing_to_do(ca: Authority, pair: Pair) -> None:
    old = listener(pair)
    pair.cert.touch()
    assert renew(old) is None
    assert serial(old, ca) == pair.serial


def test_renewed_certificate_is_shown_from_now_on(ca: Authority, pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    old, before = listener(pair), pair.serial
    under_way = old.connection()
    ca.issue("edge", days=60)
    with caplog.at_level(logging.INFO):
        new = renew(old)
    assert new is not None
    assert serial(new, ca) == pair.serial != before
    assert shake(under_way, client(str(ca.file)), "edge.test").done, "what has begun goes on with the old one"
    (renewed, about), (read, files) = logged(caplog)
    leaf = new.certificates[0].chain[0]
    assert (renewed, about) == (
        "a certificate was renewed",
        {"file": str(pair.cert), "serial": f"{pair.serial:x}", "expires": leaf.expiry()},
    )
    assert (read, files) == ("files of TLS were read again", {"changed": f"{pair.cert}, {pair.key}"})


def test_certificate_whose_key_comes_later_waits_for_it(
    ca: Authority, pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    old = listener(pair)
    old_key = pair.key.read_bytes()
    ca.issue("edge")
    new_key = pair.key.read_bytes()
    pair.key.write_bytes(old_key)
    assert renew(old) is None
    ((message, about),) = logged(caplog)
    assert message == "files of TLS changed and cannot be used; what was read before stays"
    assert about["reason"] == f"{pair.key} is not the key of {pair.cert}; name the two that belong together"
    assert renew(old) is None
    assert logged(caplog) == [], "what is wrong is told once"
    pair.key.write_bytes(new_key)
    new = renew(old)
    assert new is not None
    assert serial(new, ca) == pair.serial


@pytest.mark.parametrize("breaking", ["cert", "key", "ca"])
def test_broken_file_leaves_what_was_there(
    ca: Authority, pair: Pair, breaking: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clients = tmp_path / "clients.pem"
    shutil.copy(ca.file, clients)
    old = listener(pair, client_certificates=ClientCertificatesConfig(mode="optional", ca=str(clients)))
    path = {"cert": pair.cert, "key": pair.key, "ca": clients}[breaking]
    good = path.read_bytes()
    path.write_bytes(b"-----BEGIN CERTIFICATE-----\nhalf a file")
    assert renew(old) is None
    assert str(path) in logged(caplog)[0][1]["reason"]
    path.unlink()
    assert renew(old) is None
    assert "cannot be read" in logged(caplog)[0][1]["reason"], "another reason is told, too"
    assert shake(old.connection(), client(str(ca.file)), "edge.test").done
    path.write_bytes(good)
    assert renew(old) is None, "it is as it was"
    assert logged(caplog) == []


def test_renewed_roots_count_for_new_connections(ca: Authority, pair: Pair, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    stranger = other.issue("edge")
    trusted = tmp_path / "trusted.pem"
    shutil.copy(ca.file, trusted)
    old = ClientContexts(ClusterTlsConfig(ca=str(trusted)))
    context = server(str(stranger.cert), str(stranger.key))
    assert not shake(old.connection("edge.test"), context).done
    trusted.write_bytes(ca.file.read_bytes() + other.file.read_bytes())
    new = renew(old)
    assert new is not None
    assert shake(new.connection("edge.test"), context).done
    assert shake(new.connection("edge.test"), server(str(pair.cert), str(pair.key))).done


def test_change_while_files_are_read_is_not_missed(ca: Authority, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The contents are known from before they were loaded, so the next look finds a difference."""

    def renewed_meanwhile(context: SSL.Context, cert: str, key: str) -> None:
        load_pair(context, cert, key)
        ca.issue("edge")

    monkeypatch.setattr("proxy.tls.contexts.load_pair", renewed_meanwhile)
    old = listener(pair)
    monkeypatch.undo()
    new = renew(old)
    assert new is not None
    assert serial(new, ca) == pair.serial


def test_files_that_differ_between_two_readings(ca: Authority, pair: Pair) -> None:
    old = listener(pair)
    assert same(old, listener(pair))
    assert not same(old, listener(pair, tickets=False))
    ca.issue("edge")
    new = listener(pair)
    assert not same(old, new)
    assert changed_files(old, new) == [str(pair.cert), str(pair.key)]


# ---- all of them ----


def holder(name: str, tls: ServerContexts | ClientContexts | None) -> Any:
    return SimpleNamespace(name=name, tls=tls)


@pytest.fixture
def made() -> tuple[Renewal, ManualWatch]:
    watches: list[ManualWatch] = []

    def make(changed: Callable[[], None]) -> ManualWatch:
        watches.append(ManualWatch(changed))
        return watches[0]

    return Renewal(make), watches[0]


def test_listeners_and_clusters_get_what_is_new_of_their_own_files(
    ca: Authority, pair: Pair, made: tuple[Renewal, ManualWatch]
) -> None:
    renewal, watch = made
    own = ca.issue("own", client=True)
    web, raw, other = holder("web", listener(pair)), holder("raw", None), holder("other", listener(ca.issue("other")))
    app, plain = holder("app", cluster(ca, certificate=config(own))), holder("plain", None)
    renewal.follow([web, raw, other], [app, plain])
    assert {str(pair.cert), str(pair.key), str(own.key), str(ca.file)} <= set(watch.paths)
    was = web.tls, other.tls, app.tls
    ca.issue("edge")
    watch.changed()
    assert web.tls is not was[0]
    assert (other.tls, app.tls, raw.tls, plain.tls) == (was[1], was[2], None, None)
    ca.issue("own", client=True)
    watch.changed()
    assert app.tls is not was[2]


def test_only_who_owns_looks(made: tuple[Renewal, ManualWatch]) -> None:
    renewal, watch = made
    states = []
    for step in (renewal.stop, renewal.start, renewal.start, renewal.stop, renewal.stop, renewal.start):
        step()
        states.append(watch.running)
    assert states == [False, True, True, False, False, True]


def test_status_has_a_line_for_each_certificate(ca: Authority, pair: Pair, made: tuple[Renewal, ManualWatch]) -> None:
    renewal, _ = made
    own = ca.issue("own", "URI:spiffe://t/own", client=True)
    web, app = holder("web", listener(pair)), holder("app", cluster(ca, certificate=config(own)))
    renewal.follow([web, holder("raw", None)], [app, holder("plain", cluster(ca))])
    until = web.tls.expires()
    first, second = renewal.status(until - 86400 * 3.5)
    day = web.tls.certificates[0].chain[0].expiry()[:10]
    assert first["listener"] == "web"
    assert first["days_left"] == 3
    assert first["line"] == f"web: edge.test, localhost, 127.0.0.1, ...; expires {day}, in 3 days; {pair.cert}"
    assert second["cluster"] == "app"
    late, _ = renewal.status(until + 1)
    assert f"EXPIRED {day}" in late["line"]
