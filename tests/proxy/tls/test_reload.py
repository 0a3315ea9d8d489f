"""A reload reads the files of TLS again, also where only they changed; a broken one refuses the whole."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hotswap.errors import ConfigError
from hotswap.handover.rounds import Limits
from hotswap.reload import Change
from proxy.config.loader import loads
from proxy.config.model import Config
from proxy.reload import ProxyReload
from proxy.server import ProxyServer
from tests.kit.certificates import Authority
from tests.proxy.simulation import World

TEXT = """\
name: edge
listeners:
  - {name: web, address: 127.0.0.1:443, protocol: http1, cluster: app,
     tls: {certificates: [{cert: web.pem, key: web.key}]}}
  - {name: raw, address: 127.0.0.1:444, protocol: tcp, cluster: db}
clusters:
  - {name: app, endpoints: [127.0.0.1:9443], tls: {ca: roots.pem}}
  - {name: db, endpoints: [127.0.0.1:9000]}
"""


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    ca = Authority(tmp_path)
    ca.issue("web")
    shutil.copy(ca.file, tmp_path / "roots.pem")
    return ca


@pytest.fixture
def proxy(ca: Authority) -> ProxyServer:
    return World(configuration(ca)).proxy


def configuration(ca: Authority, old: str = "", new: str = "") -> Config:
    assert old in TEXT
    return loads(TEXT.replace(old, new), base=ca.folder).config


def plan(proxy: ProxyServer, config: Config) -> ProxyReload:
    return ProxyReload(proxy, config, Limits())


def test_same_configuration_and_same_files_change_nothing(ca: Authority, proxy: ProxyServer) -> None:
    (ca.folder / "web.pem").touch()
    assert plan(proxy, configuration(ca)).changes == []


def test_renewed_files_are_changes_by_themselves(ca: Authority, proxy: ProxyServer) -> None:
    web, app = proxy.listeners["web"], proxy.clusters["app"]
    was = web.tls, app.tls
    ca.issue("web")
    (ca.folder / "roots.pem").write_bytes(ca.file.read_bytes() * 2)
    reload = plan(proxy, configuration(ca))
    assert reload.changes == [
        Change("file", str(ca.folder / name), "changed") for name in ("web.pem", "web.key", "roots.pem")
    ]
    assert (web.tls, app.tls) == was, "nothing is applied yet"
    reload.apply({})
    assert web.tls is not was[0]
    assert app.tls is not was[1]
    assert plan(proxy, configuration(ca)).changes == []


def test_what_did_not_change_keeps_the_tickets_of_its_clients(ca: Authority, proxy: ProxyServer) -> None:
    web, app = proxy.listeners["web"], proxy.clusters["app"]
    was = web.tls, app.tls
    reload = plan(proxy, configuration(ca, "443, protocol: http1", "443, protocol: http1, max_headers: 5"))
    reload.apply({})
    assert web.config.max_headers == 5
    assert (web.tls, app.tls) == was


def test_broken_file_refuses_the_whole(ca: Authority, proxy: ProxyServer) -> None:
    for name in ("web.key", "roots.pem"):
        path = ca.folder / name
        good = path.read_bytes()
        path.write_bytes(b"")
        with pytest.raises(ConfigError, match=name):
            plan(proxy, configuration(ca, "db, endpoints", "db, retries: 0, endpoints"))
        path.write_bytes(good)
    assert proxy.clusters["db"].config.retries == 1
    assert plan(proxy, configuration(ca)).changes == []


def test_tls_comes_and_goes_with_the_configuration(ca: Authority, proxy: ProxyServer) -> None:
    listener_tls, cluster_tls = ",\n     tls: {certificates: [{cert: web.pem, key: web.key}]}", ", tls: {ca: roots.pem}"

    def encrypted() -> tuple[bool, bool]:
        return proxy.listeners["web"].tls is not None, proxy.clusters["app"].tls is not None

    seen = []
    for gone in (listener_tls, cluster_tls, ""):
        plan(proxy, configuration(ca, gone)).apply({})
        seen.append(encrypted())
    assert seen == [(False, True), (True, False), (True, True)]


def test_files_made_for_the_reload_are_those_in_force(ca: Authority, proxy: ProxyServer) -> None:
    """What was checked is what is used: nothing is read again in `apply`, where nothing may fail."""
    ca.issue("web")
    (ca.folder / "roots.pem").write_bytes(ca.file.read_bytes() * 2)
    changed = configuration(ca, "{ca: roots.pem}", "{ca: roots.pem, sni: app.test}")
    reload = plan(proxy, changed)
    for name in ("web.pem", "web.key", "roots.pem"):
        (ca.folder / name).unlink()
    reload.apply({})
    tls = proxy.clusters["app"].tls
    assert tls is not None
    assert tls.config.sni == "app.test"
