from __future__ import annotations

import json
from typing import Any

from jsonschema import Draft202012Validator

from hotswap.settings.reference import table
from hotswap.settings.schema import json_schema, printed
from tests.hotswap.settings.test_loader import LAMP, ROOM

SCHEMA = json_schema("a room", ROOM, (ROOM, LAMP), {"room": {"maxProperties": 3}, "lamp": {"minProperties": 1}})


def valid(value: Any) -> bool:
    Draft202012Validator.check_schema(SCHEMA)
    return not list(Draft202012Validator(SCHEMA).iter_errors(value))


def test_schema_knows_keys_forms_and_defaults() -> None:
    assert valid({"name": "hall", "lamps": [{"level": -3}]})
    assert not valid({"nam": "hall"})
    assert not valid({"name": "hall", "lamps": []})
    assert not valid({"name": "hall", "lamps": [{"level": 11}]})
    assert SCHEMA["$defs"]["lamp"]["properties"]["level"]["default"] == -3
    assert SCHEMA["properties"]["after"]["default"] == "5s"


def test_rules_are_added_to_sections_and_to_the_root() -> None:
    assert not valid({"name": "hall", "door": {}})
    assert not valid({"name": "a", "plan": "a", "after": "1s", "words": ["a"]})


def test_schema_is_printed_as_json() -> None:
    assert json.loads(printed(SCHEMA)) == SCHEMA


def test_table_says_form_default_and_meaning() -> None:
    lines = table(ROOM, "The room").splitlines()
    assert lines[1:4] == ["## The room", "", "A room."]
    assert lines[7:] == [
        "| `name` | name | required | Its name. |",
        "| `plan` | path | none | Its plan. |",
        "| `after` | duration | `5s` | When. |",
        "| `lamps` | list of lamps | none | Its lamps. |",
        "| `words` | words | `[a, b]` | Words. |",
        "| `door` | lamp | the defaults below | At the door. |",
    ]
