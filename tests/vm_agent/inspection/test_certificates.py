from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.kit.certificates import Authority
from tests.vm_agent.inspection.subjects import NOW, brief, sound, spec, told
from vm_agent.inspection.certificates import Certificate, Unreadable, judge, look, look_at_own, named
from vm_agent.spec.model import HttpSettings

DAY = 86400.0
FILE = "/etc/edge.pem"


def certificate(days: float, **changes: Any) -> Certificate:
    keys: dict[str, Any] = {"file": FILE, "where": "listener web", "until": NOW + days * DAY, "serial": "a"}
    return Certificate(**{**keys, **changes})


@pytest.mark.parametrize(
    ("one", "severity"),
    [
        (certificate(31), None),
        (certificate(29), "warning"),
        (certificate(8), "warning"),
        (certificate(6), "error"),
        (certificate(-1), "error"),
        (certificate(90, on_disk="a", read=NOW - 3600), None),
        (certificate(90, on_disk="b", read=NOW - 3600), "warning"),  # renewed, and not taken
        (certificate(3, on_disk="b", read=NOW - 3600), "error"),
        (certificate(90, on_disk="b", read=NOW - 5), None),  # it is about to be taken
        (Unreadable(FILE, "listener web", "Permission denied"), "error"),
    ],
)
def test_the_end_of_a_certificate_is_told_in_time(one: Certificate | Unreadable, severity: str | None) -> None:
    found = brief(judge("edge", [one], NOW))
    assert found == ([] if severity is None else [(severity, "certificate", FILE)])


def test_it_says_when_it_ends_and_whether_it_did() -> None:
    before, after = judge("edge", [certificate(6), certificate(-3)], NOW)
    assert "expires in 6 d" in before.text
    assert "expired 3 d ago" in after.text


def _shown(**changes: Any) -> dict[str, Any]:
    expires = datetime.fromtimestamp(NOW + 5 * DAY, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"listener": "web", "file": FILE, "serial": "a", "expires": expires, "days_left": 5} | changes


def test_what_a_proxy_says_of_its_certificates_counts() -> None:
    server = {"certificates": [_shown(), _shown(listener="", cluster="app", file="/etc/app.pem"), {"line": "other"}]}
    found = look(sound(told=told(server=server)))
    assert found == [
        Certificate(FILE, "listener web", NOW + 5 * DAY, "a"),
        Certificate("/etc/app.pem", "cluster app", NOW + 5 * DAY, "a"),
    ]


@pytest.mark.parametrize("server", [None, [], "text", {"certificates": None}, {"certificates": {"a": 1}}])
def test_a_server_that_tells_other_things_has_none(server: Any) -> None:
    assert look(sound(told=told(server=server))) == []


def test_a_renewed_file_is_compared_with_what_is_shown(tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue(days=90)
    server = {"certificates": [_shown(file=str(pair.cert), serial="abc")]}
    (one,) = look(sound(told=told(server=server)))
    assert isinstance(one, Certificate)
    assert one.on_disk == f"{pair.serial:x}"
    assert one.read == pytest.approx(time.time(), abs=60)


def test_of_one_that_does_not_answer_the_files_of_its_configuration_count(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue(days=20)
    config = tmp_path / "edge.yaml"
    config.write_text(
        "listeners:\n"
        "  - tls: {certificates: [{cert: edge.pem, key: edge.key}, {cert: none.pem, key: none.key}]}\n"
        f"clusters:\n  - tls: {{certificate: {{cert: {pair.cert}, key: edge.key}}}}\n"
    )
    found = look(sound(told=None, spec=spec(config=str(config))))
    assert [one.file for one in found] == [str(pair.cert), str(tmp_path / "none.pem")]
    assert brief(judge("edge", found, time.time())) == [
        ("warning", "certificate", str(pair.cert)),
        ("error", "certificate", str(tmp_path / "none.pem")),
    ]


@pytest.mark.parametrize("text", ["", "{", "cert: 3", "- 1", "&a [*a]", "cert: [edge.pem]"])
def test_a_configuration_that_makes_no_sense_names_no_files(tmp_path: Path, text: str) -> None:
    (tmp_path / "edge.yaml").write_text(text)
    assert named(str(tmp_path / "edge.yaml")) == []


def test_the_agents_own_certificates_are_looked_at(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("agent", days=3)
    http = HttpSettings(
        address="127.0.0.1:9443", certificate=str(pair.cert), key=str(pair.key), client_ca=str(authority.file)
    )
    found = brief(judge("", look_at_own(http), time.time()))
    assert found == [("error", "certificate", str(pair.cert))]
    authority.file.unlink()
    assert ("error", "certificate", str(authority.file)) in brief(judge("", look_at_own(http), time.time()))
    assert look_at_own(None) == []


def test_a_file_that_is_no_certificate_is_told(tmp_path: Path) -> None:
    (tmp_path / "edge.pem").write_text("nothing")
    (tmp_path / "edge.yaml").write_text("cert: edge.pem")
    (one,) = look(sound(told=None, spec=spec(config=str(tmp_path / "edge.yaml"))))
    assert isinstance(one, Unreadable)
    assert os.fspath(tmp_path) in one.file
