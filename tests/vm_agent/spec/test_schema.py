"""Table of keys, structs, JSON Schemas and reference page say the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from jsonschema import Draft202012Validator

from hotswap.settings.sections import Items, Key, Section
from tests.vm_agent.spec.test_loader import put
from tests.vm_agent.spec.test_mistakes import MISTAKES, placed
from vm_agent.spec import model
from vm_agent.spec.elsewhere import ELSEWHERE
from vm_agent.spec.keys import SECTIONS
from vm_agent.spec.loader import load_settings, load_spec_with_warnings
from vm_agent.spec.reference import page
from vm_agent.spec.schema import settings_schema, spec_schema
from vm_agent.spec.settings_keys import SETTINGS_SECTIONS

ROOT = Path(__file__).parents[3]
ALL = (*SECTIONS, *SETTINGS_SECTIONS)
KEYS = [pytest.param(section, key, id=f"{section.title}.{key.name}") for section in ALL for key in section.keys]
SPEC, SETTINGS = Draft202012Validator(spec_schema()), Draft202012Validator(settings_schema())
NOT_WRITTEN = {"spec": {"file"}}
READ_BY_A_KIND = {model.Window}
NOT_IN_THE_SCHEMA = {"name: agent.sock"} | {
    f"{key}: {value}"
    for key, value in [
        ("command", "[/bin/sh]"),
        ("command", "[../sh]"),
        ("command", "[bin/x, '{confg}']"),
        ("command", "[bin/x, '{1}']"),
        ("run.environment", "{LISTEN_FDS: '3'}"),
        ("run.environment", '{A: "a\\nb"}'),
        ("run.environment", "{A: a, A: b}"),
        ("run.stop_timeout", "0s"),
        ("run.limits.memory", "0%"),
        ("run.limits.memory", "101%"),
        ("upgrade.abort_if.p99_latency", "1x"),
        ("upgrade.window", "02:00-02:00"),
        ("upgrade.timeout", "500ms"),
        ("release", ".5"),
    ]
}
"""What only the loader sees: ranges of values with units, and what is inside of texts."""


def properties(section: Section) -> dict[str, Any]:
    for schema in (spec_schema(), settings_schema()):
        if section.title in schema["$defs"]:
            found: dict[str, Any] = schema["$defs"][section.title]["properties"]
            return found
    whole = spec_schema() if section in SECTIONS else settings_schema()
    top: dict[str, Any] = whole["properties"]
    return top


def test_schemas_are_schemas() -> None:
    Draft202012Validator.check_schema(spec_schema())
    Draft202012Validator.check_schema(settings_schema())


def test_every_struct_of_the_model_has_its_section() -> None:
    values = vars(model).values()
    structs = {value for value in values if isinstance(value, type) and issubclass(value, msgspec.Struct)}
    assert {section.struct for section in ALL} == structs - {msgspec.Struct} - READ_BY_A_KIND


@pytest.mark.parametrize("section", ALL, ids=lambda section: section.title)
def test_keys_are_the_fields_of_the_struct(section: Section) -> None:
    fields = {field.name: field.required for field in msgspec.structs.fields(section.struct)}
    for name in NOT_WRITTEN.get(section.title, ()):
        del fields[name]
    assert len(section.keys) == len(fields)
    assert {key.name: key.required for key in section.keys} == fields


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


@pytest.mark.parametrize(("section", "key"), KEYS)
def test_example_of_a_key_fits_it(section: Section, key: Key) -> None:
    if key.example and not isinstance(key.kind, Section | Items):
        written = yaml.safe_load(f"x: {key.example}")["x"]
        assert not list(Draft202012Validator(properties(section)[key.name]).iter_errors(written))


def test_reference_page_is_up_to_date() -> None:
    written = (ROOT / "docs" / "agent-spec.md").read_text()
    assert written == page(), "run: python -m vm_agent.spec.reference > docs/agent-spec.md"


def test_yaml_in_the_reference_page_is_valid(tmp_path: Path) -> None:
    spec, settings = (block.partition("```")[0] for block in page().split("```yaml\n")[1:])
    assert load_spec_with_warnings(put(tmp_path / "spec.yaml", spec)).warnings == ()
    load_settings(put(tmp_path / "agent.yaml", settings))
    assert not list(SPEC.iter_errors(yaml.safe_load(spec)))
    assert not list(SETTINGS.iter_errors(yaml.safe_load(settings)))


def test_examples_are_valid_for_the_schemas() -> None:
    examples = ROOT / "examples"
    assert not list(SPEC.iter_errors(yaml.safe_load((examples / "sidecar.yaml").read_text())))
    assert not list(SETTINGS.iter_errors(yaml.safe_load((examples / "agent.yaml").read_text())))


@pytest.mark.parametrize(("key", "value", "_"), MISTAKES)
def test_schema_refuses_what_the_loader_refuses(key: str, value: str, _: str) -> None:
    seen = bool(list(SPEC.iter_errors(yaml.safe_load(placed(key, value)[1]))))
    assert seen is (f"{key}: {value}" not in NOT_IN_THE_SCHEMA)


def test_words_of_other_products_lead_to_keys_that_exist() -> None:
    known = {key.name for section in ALL for key in section.keys}
    assert set(ELSEWHERE.values()) <= known
    assert not set(ELSEWHERE) & known
