"""The keys of encryption: how they are written, and what they mean together with others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from hotswap.settings.problems import InvalidConfig
from proxy.config.loader import loads
from proxy.config.model import ClusterConfig
from proxy.config.schema import json_schema
from proxy.config.tls_model import EncryptionConfig

TEXT = """\
name: edge
listeners: [{name: web, address: 127.0.0.1:80, protocol: http1, cluster: app}]
clusters:
  - name: app
    tls: {}
    endpoints:
      - 127.0.0.1:9000
"""
NO_TLS = TEXT.replace("    tls: {}\n", "")
OWN = "      - {{address: 127.0.0.1:9001, {}}}\n"
"""A further endpoint with keys of its own."""
VALIDATOR = Draft202012Validator(json_schema())


def section(written: str, text: str = TEXT) -> str:
    """The text with this section, in its last line."""
    return f"{text}    encryption: {written}\n"


def read(text: str) -> ClusterConfig:
    cluster = loads(text, base=Path("/etc/edge")).config.clusters[0]
    assert list(VALIDATOR.iter_errors(yaml.safe_load(text))) == [], "the schema takes what the reader takes"
    return cluster


def problems(text: str) -> list[str]:
    with pytest.raises(InvalidConfig) as raised:
        loads(text)
    return [problem.at("edge.yaml") for problem in raised.value.problems]


def warnings(text: str) -> list[str]:
    return [one.at("edge.yaml") for one in loads(text).warnings]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{}", EncryptionConfig()),
        ("on", EncryptionConfig(wanted="on")),
        ('"on"', EncryptionConfig(wanted="on")),
        ("off", EncryptionConfig(wanted="off")),
        ("'off'", EncryptionConfig(wanted="off")),
        ("follow", EncryptionConfig(wanted="follow")),
        ("{wanted: off}", EncryptionConfig(wanted="off")),
        ("{wanted: 'on', strict: true}", EncryptionConfig(strict=True)),
        ("{percent: 1, ramp: 10m}", EncryptionConfig(percent=1, ramp=600.0)),
        (
            "{retry: 500ms, max_retry: 1h, retire_timeout: 10s}",
            EncryptionConfig(retry=0.5, max_retry=3600.0, retire_timeout=10.0),
        ),
        (
            "{wanted: follow, announcements: told/app.yaml}",
            EncryptionConfig(wanted="follow", announcements="/etc/edge/told/app.yaml"),
        ),
        (
            "{wanted: follow, announcements: /run/app.yaml}",
            EncryptionConfig(wanted="follow", announcements="/run/app.yaml"),
        ),
    ],
)
def test_section_is_read_as_it_is_meant(written: str, expected: EncryptionConfig) -> None:
    assert read(section(written)).encryption == expected
    assert warnings(section(written)) == []


def test_cluster_without_the_section_has_none() -> None:
    assert read(TEXT).encryption is None


@pytest.mark.parametrize("word", ["on", "off", "follow", '"on"', '"off"'])
def test_endpoint_may_have_a_mode_of_its_own(word: str) -> None:
    shared, own = read(TEXT + OWN.format(f"encryption: {word}")).endpoints
    assert (shared.encryption, own.encryption) == (None, word.strip('"'))


def test_endpoint_announces() -> None:
    silent, own = read(section("follow", TEXT + OWN.format("announces: tls"))).endpoints
    assert (silent.announces, own.announces) == (None, "tls")


@pytest.mark.parametrize("written", ["off", "{wanted: off, strict: true}"])
def test_off_needs_no_tls(written: str) -> None:
    assert read(section(written, NO_TLS + OWN.format("encryption: off"))).tls is None


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (section("on", NO_TLS), "7: clusters[0].encryption: wanted is on"),
        (section("{}", NO_TLS), "7: clusters[0].encryption: wanted is on"),
        (section("follow", NO_TLS), "7: clusters[0].encryption: wanted is follow"),
        (section("\n      strict: true\n      wanted: on", NO_TLS), "9: clusters[0].encryption.wanted: wanted is on"),
        (NO_TLS + OWN.format("encryption: on"), "7: clusters[0].endpoints[1].encryption: encryption is on"),
        (
            section("off", NO_TLS + OWN.format("encryption: follow")),
            "7: clusters[0].endpoints[1].encryption: encryption is follow",
        ),
    ],
)
def test_encryption_that_is_wanted_needs_tls(text: str, place: str) -> None:
    assert problems(text) == [f"edge.yaml:{place} and needs tls; add tls: {{ca: FILE}} to the cluster, or write off"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (section("maybe"), "8: clusters[0].encryption: 'maybe' is not known; write one of off, on, follow"),
        (section("yes"), "8: clusters[0].encryption: 'yes' is not known; write one of off, on, follow"),
        (section("true"), "8: clusters[0].encryption: 'true' is not known; write one of off, on, follow"),
        (section("[on]"), "8: clusters[0].encryption: a list stands here; write a mapping with the keys wanted, "),
        (section("{wanted: On}"), "8: clusters[0].encryption.wanted: 'On' is not known; write one of off, on, follow"),
        (section("{wanted: }"), "8: clusters[0].encryption.wanted: the value is missing; write one of off, on, follow"),
        (section("{percent: 101}"), "8: clusters[0].encryption.percent: '101' does not fit; write a whole number from"),
        (section("{ramp: soon}"), "8: clusters[0].encryption.ramp: "),
        (section("{share: 5}"), "8: clusters[0].encryption.share: 'share' is not a key of a"),
        (
            TEXT + OWN.format("encryption: maybe"),
            "8: clusters[0].endpoints[1].encryption: 'maybe' is not known; write one of off, on, follow",
        ),
        (TEXT + OWN.format("announces: ssl"), "8: clusters[0].endpoints[1].announces: 'ssl' is not "),
    ],
)
def test_mistake_is_told_with_its_place_and_the_remedy(text: str, words: str) -> None:
    (line,) = problems(text)
    assert line.startswith(f"edge.yaml:{words}")


NOBODY = OWN.format("announces: tls")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (section("{percent: 0}"), "8: clusters[0].encryption.percent: no connection is encrypted; write wanted: off"),
        (
            section("{announcements: a.yaml}"),
            "8: clusters[0].encryption.announcements: nobody follows these; write wanted: follow",
        ),
        (
            section("{wanted: off, announcements: a.yaml}", TEXT + OWN.format("encryption: on")),
            "9: clusters[0].encryption.announcements: nobody follows these; write wanted: follow",
        ),
        (TEXT + NOBODY, "8: clusters[0].endpoints[1].announces: nobody follows this; write encryption: follow"),
        (
            section("on", TEXT + NOBODY + NOBODY.replace("9001", "9002")),
            "8: clusters[0].endpoints[1].announces: nobody follows this; write encryption: follow",
        ),
    ],
)
def test_what_is_legal_and_probably_not_meant(text: str, words: str) -> None:
    (line,) = warnings(text)
    assert line.startswith(f"edge.yaml:{words}")


@pytest.mark.parametrize(
    "text",
    [
        section("{wanted: follow, announcements: a.yaml}", TEXT + NOBODY),
        section("{wanted: on, announcements: a.yaml}", TEXT + OWN.format("encryption: follow, announces: tls")),
        section("{percent: 1}"),
    ],
)
def test_what_is_followed_is_no_reason_to_warn(text: str) -> None:
    assert warnings(text) == []


@pytest.mark.parametrize(
    "value",
    [
        "maybe",
        1,
        None,
        {"wanted": "maybe"},
        {"percent": 101},
        {"percent": -1},
        {"strict": "yes"},
        {"ramp": "soon"},
        {"share": 5},
    ],
)
def test_schema_refuses_what_the_reader_refuses(value: Any) -> None:
    document = yaml.safe_load(section("follow"))
    assert not list(VALIDATOR.iter_errors(document))
    document["clusters"][0]["encryption"] = value
    assert list(VALIDATOR.iter_errors(document))
    with pytest.raises(InvalidConfig):
        loads(yaml.safe_dump(document))
