"""What is said of brokers in a configuration, and of the password."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from hotswap.settings.problems import InvalidConfig
from proxy.config.loader import load_with_warnings, loads
from proxy.config.tls_files import TlsFiles

TEXT = """\
name: edge
listeners:
  - {name: mq, address: 127.0.0.1:5672, protocol: amqp, cluster: brokers}
clusters:
  - name: brokers
    endpoints: [127.0.0.1:5673]
    broker: BROKER
"""


def problem(broker: str) -> str:
    with pytest.raises(InvalidConfig) as caught:
        loads(TEXT.replace("BROKER", broker))
    return str(caught.value)


@pytest.mark.parametrize("key", ["username", "password_file"])
def test_who_moves_has_a_login(key: str) -> None:
    other = {"username": "password_file: secret", "password_file": "username: app"}[key]
    assert f":7: clusters[0].broker.when_gone: {key} is missing" in problem(f"{{when_gone: move, {other}}}")


def test_keys_of_amqp_are_for_amqp_only() -> None:
    with pytest.raises(InvalidConfig, match="handover has no meaning for protocol tcp"):
        loads(TEXT.replace("BROKER", "{}").replace("protocol: amqp", "protocol: tcp, handover: quiet"))


def warnings(folder: Path, broker: str) -> list[str]:
    path = folder / "edge.yaml"
    path.write_text(TEXT.replace("BROKER", broker))
    loaded = load_with_warnings(path, files=TlsFiles(time.time, lambda: None))
    return [str(one) for one in loaded.warnings]


def test_a_password_that_others_can_read_is_told_of(tmp_path: Path) -> None:
    broker = "{when_gone: move, username: app, password_file: secret}"
    assert "is not there" in warnings(tmp_path, broker)[0]
    secret = tmp_path / "secret"
    secret.write_text("secret")
    secret.chmod(0o644)
    assert "every user of this machine" in warnings(tmp_path, broker)[0]
    secret.chmod(0o600)
    assert warnings(tmp_path, broker) == []
    assert "not used" in warnings(tmp_path, "{username: app}")[0]
