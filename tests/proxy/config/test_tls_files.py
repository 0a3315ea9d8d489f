"""What the checks say of the files that TLS names, each at the line of its key."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hotswap.errors import ConfigError
from hotswap.settings.problems import InvalidConfig
from proxy.config.loader import load_with_warnings
from proxy.config.tls_files import TlsFiles
from tests.kit.certificates import Authority

DAY = 86400.0
TEXT = """\
name: edge
listeners:
  - name: web
    address: 127.0.0.1:8443
    protocol: http1
    cluster: app
    tls:
      certificates:
        - {cert: edge.pem, key: edge.key}
        - cert: other.pem
          key: other.key
      client_certificates:
        ca: ca.pem
clusters:
  - name: app
    endpoints: [127.0.0.1:9443]
    tls:
      ca: roots.pem
      certificate:
        cert: proxy.pem
        key: proxy.key
"""
PLAIN = """\
name: edge
listeners: [{name: raw, address: 127.0.0.1:1, protocol: tcp, cluster: app}]
clusters: [{name: app, endpoints: [127.0.0.1:2]}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A configuration and its files, all good for some weeks."""
    ca = Authority(tmp_path)
    ca.issue("edge", "DNS:edge.test")
    ca.issue("other", "DNS:other.test", algorithm="rsa")
    ca.issue("proxy", "DNS:proxy", client=True)
    shutil.copy(ca.file, tmp_path / "roots.pem")
    (tmp_path / "edge.yaml").write_text(TEXT)
    return tmp_path


def look(folder: Path, wall: Callable[[], float] = time.time, guard: Callable[[], None] = lambda: None) -> list[str]:
    """Errors, or else warnings."""
    try:
        loaded = load_with_warnings(folder / "edge.yaml", files=TlsFiles(wall, guard))
    except InvalidConfig as invalid:
        return [problem.at("edge.yaml") for problem in invalid.problems]
    return [f"warning: {warning.at('edge.yaml')}" for warning in loaded.warnings]


def test_good_files_are_nothing_to_speak_of(folder: Path) -> None:
    assert look(folder) == []


def test_files_are_opened_only_on_demand(folder: Path) -> None:
    (folder / "edge.key").unlink()
    assert load_with_warnings(folder / "edge.yaml").warnings == ()


@pytest.mark.parametrize(
    ("name", "line", "key"),
    [
        ("edge.pem", 9, "listeners[0].tls.certificates[0].cert"),
        ("edge.key", 9, "listeners[0].tls.certificates[0].key"),
        ("other.pem", 10, "listeners[0].tls.certificates[1].cert"),
        ("other.key", 11, "listeners[0].tls.certificates[1].key"),
        ("ca.pem", 13, "listeners[0].tls.client_certificates.ca"),
        ("roots.pem", 18, "clusters[0].tls.ca"),
        ("proxy.pem", 20, "clusters[0].tls.certificate.cert"),
        ("proxy.key", 21, "clusters[0].tls.certificate.key"),
    ],
)
def test_each_file_that_cannot_be_used_is_told_at_its_key(folder: Path, name: str, line: int, key: str) -> None:
    path = folder / name
    path.unlink()
    text = "cannot be read: no such file or directory; name a file that this user can read"
    assert look(folder) == [f"edge.yaml:{line}: {key}: {path} {text}"]
    path.write_text("")
    (said,) = look(folder)
    assert said.startswith(f"edge.yaml:{line}: {key}: {path} ")


def test_all_broken_files_are_told_in_one_go(folder: Path) -> None:
    for name in ("edge.key", "ca.pem", "proxy.pem"):
        (folder / name).unlink()
    assert [line.split(":")[1] for line in look(folder)] == ["9", "13", "20"]


def test_key_of_another_certificate(folder: Path) -> None:
    shutil.copy(folder / "other.key", folder / "edge.key")
    (said,) = look(folder)
    words = f"{folder}/edge.key is not the key of {folder}/edge.pem; name the two that belong together"
    assert said == f"edge.yaml:9: listeners[0].tls.certificates[0].key: {words}"


def test_expired_and_expiring_certificates_are_warnings(folder: Path) -> None:
    later = time.time() + 20 * DAY
    told = look(folder, lambda: later)
    assert [line.split(":")[2] for line in told] == ["9", "10", "20"]
    assert all("expires on" in line and line.endswith("renew it") for line in told)
    told = look(folder, lambda: later + 20 * DAY)
    assert "warning: edge.yaml:9: listeners[0].tls.certificates[0].cert: edge.test expired on" in told[0]
    told = look(folder, lambda: later + 700 * DAY)
    assert [line.split(":")[2] for line in told] == ["9", "10", "13", "18", "20"], "roots, too"


def test_key_that_everybody_can_read_is_a_warning(folder: Path) -> None:
    (folder / "proxy.key").chmod(0o644)
    (said,) = look(folder)
    words = f"every user of this machine can read or write {folder}/proxy.key; chmod o-rw it"
    assert said == f"warning: edge.yaml:21: clusters[0].tls.certificate.key: {words}"


def test_certificate_that_is_never_shown_is_a_warning(folder: Path) -> None:
    for suffix in (".pem", ".key"):
        shutil.copy(folder / f"edge{suffix}", folder / f"other{suffix}")
    (said,) = look(folder)
    words = "never shown: certificates before it have edge.test; remove it"
    assert said == f"warning: edge.yaml:10: listeners[0].tls.certificates[1].cert: {words}"


def test_the_same_names_with_another_kind_of_key_are_fine(folder: Path) -> None:
    Authority(folder / "more").issue("other", "DNS:edge.test", algorithm="rsa")
    for suffix in (".pem", ".key"):
        shutil.copy(folder / "more" / f"other{suffix}", folder / f"other{suffix}")
    (folder / "other.key").chmod(0o600)
    assert look(folder) == []


def test_guard_comes_before_a_key_is_read_and_only_with_tls(folder: Path) -> None:
    def refuse() -> None:
        raise ConfigError("not with this environment")

    (folder / "edge.key").unlink()
    with pytest.raises(ConfigError, match=r"^not with this environment$"):
        look(folder, guard=refuse)
    (folder / "edge.yaml").write_text(PLAIN)
    assert look(folder, guard=refuse) == []


def test_other_mistakes_are_told_together_with_those_of_files(folder: Path) -> None:
    text = TEXT.replace("cluster: app", "cluster: ap").replace("cert: other.pem", "cert: ''")
    (folder / "edge.yaml").write_text(text)
    (folder / "ca.pem").unlink()
    assert [line.split(":")[1] for line in look(folder)] == ["6", "10", "13"]
