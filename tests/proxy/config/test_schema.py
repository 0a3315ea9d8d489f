"""Table of keys, structs, JSON Schema and reference page say the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from jsonschema import Draft202012Validator

from hotswap.settings.sections import Items, Key, Section
from proxy.config import model, tls_model
from proxy.config.elsewhere import ELSEWHERE
from proxy.config.keys import SECTIONS
from proxy.config.listener_keys import LISTENER
from proxy.config.loader import loads
from proxy.config.reference import page
from proxy.config.route_keys import ROUTE
from proxy.config.schema import json_schema, printed

ROOT = Path(__file__).parents[3]
OF_THE_AGENT = {"agent.yaml", "sidecar.yaml"}
EXAMPLES = sorted(path for path in (ROOT / "examples").rglob("*.yaml") if path.name not in OF_THE_AGENT)
KEYS = [pytest.param(section, key, id=f"{section.title}.{key.name}") for section in SECTIONS for key in section.keys]

Draft202012Validator.check_schema(json_schema())
VALIDATOR = Draft202012Validator(json_schema())


def properties(section: Section) -> dict[str, Any]:
    schema = json_schema()
    found = schema["$defs"].get(section.title, schema)
    found = found["oneOf"][1] if "oneOf" in found else found
    properties: dict[str, Any] = found["properties"]
    return properties


def test_every_struct_of_the_model_has_its_section() -> None:
    values = [*vars(model).values(), *vars(tls_model).values()]
    structs = {value for value in values if isinstance(value, type) and issubclass(value, msgspec.Struct)}
    assert {section.struct for section in SECTIONS} == structs - {msgspec.Struct}


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.title)
def test_keys_are_the_fields_of_the_struct(section: Section) -> None:
    fields = {field.name: field.required for field in msgspec.structs.fields(section.struct)}
    keys = {key.name: key.required for key in section.keys}
    if section is LISTENER:
        assert keys.pop("cluster") is False  # short for a route
        fields["routes"] = False  # one of both
    if section is ROUTE:
        fields["cluster"] = False  # or clusters
    assert keys == fields


@pytest.mark.parametrize(("section", "key"), KEYS)
def test_key_is_in_schema_and_reference_with_its_default(section: Section, key: Key) -> None:
    entry = properties(section)[key.name]
    assert entry["description"] == key.about
    default = section.default(key)
    assert f"| `{key.name}` |" in page()
    if default is not None and not isinstance(key.kind, Section | Items):
        assert f"| `{key.kind.show(default)}` |" in page()
        assert not list(Draft202012Validator(entry).iter_errors(entry["default"]))
    else:
        assert key.required or key.absent, "say what leaving it out means"


def test_schema_has_no_key_that_the_table_does_not_know() -> None:
    for section in SECTIONS:
        assert list(properties(section)) == [key.name for key in section.keys]


def test_reference_page_is_up_to_date() -> None:
    written = (ROOT / "docs" / "config.md").read_text()
    assert written == page(), "run: python -m proxy.config.reference > docs/config.md"


def test_yaml_in_the_reference_page_is_valid() -> None:
    for block in page().split("```yaml\n")[1:]:
        assert loads(block.partition("```")[0]).warnings == ()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_is_valid_for_loader_and_schema(path: Path) -> None:
    text = path.read_text()
    assert loads(text).warnings == ()
    assert list(VALIDATOR.iter_errors(yaml.safe_load(text))) == []


def test_there_is_an_example() -> None:
    assert ROOT / "examples" / "edge.yaml" in EXAMPLES


@pytest.mark.parametrize(("section", "key"), KEYS)
def test_example_of_a_key_fits_it(section: Section, key: Key) -> None:
    if key.example and not isinstance(key.kind, Section | Items):
        written = yaml.safe_load(f"x: {key.example}")["x"]
        assert not list(Draft202012Validator(properties(section)[key.name]).iter_errors(written))


def test_words_of_other_proxies_lead_to_keys_that_exist() -> None:
    known = {key.name for section in SECTIONS for key in section.keys}
    assert set(ELSEWHERE.values()) <= known
    assert not set(ELSEWHERE) & known


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("name: edge", "nam: edge"),
        ("protocol: tcp", "protocol: udp"),
        ("protocol: tcp", "protocol: tcp, max_body: 1"),
        ("protocol: tcp, cluster: db", "protocol: tcp, cluster: db, routes: [{cluster: db}]"),
        ("protocol: tcp, cluster: db", "protocol: http1"),
        ("protocol: tcp", "protocol: tcp, backlog: 0"),
        ("name: edge", "name: edge\ndrain_timeout: 5"),
        ("name: edge", "name: 5"),
        ("[127.0.0.1:15432]", "[]"),
        ("[127.0.0.1:15432]", "[{weight: 2}]"),
    ],
)
def test_schema_refuses_what_the_loader_refuses(old: str, new: str) -> None:
    text = page().split("```yaml\n")[1].partition("```")[0]
    assert old in text
    assert list(VALIDATOR.iter_errors(yaml.safe_load(text.replace(old, new))))


def test_printed_schema_is_json() -> None:
    assert json.loads(printed()) == json_schema()
