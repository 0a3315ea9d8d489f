"""The JSON Schema of the configuration (draft 2020-12), for editors and other tools.

It knows every key and the form of every value. What needs a look across the file (names that
refer to each other, addresses that collide) only ``hotswap check`` knows.
"""

from __future__ import annotations

from typing import Any, get_args

import msgspec

from proxy.config.keys import ROOT, SECTIONS
from proxy.config.listener_keys import LISTENER
from proxy.config.model import Protocol
from proxy.config.route_keys import ROUTE
from proxy.config.sections import Items, Key, Section

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The schema as JSON-ready values."""
    return {
        "$schema": DIALECT,
        "title": "hotswap proxy configuration",
        **_object(ROOT),
        "$defs": {section.title: _definition(section) for section in SECTIONS if section is not ROOT},
    }


def _definition(section: Section) -> dict[str, Any]:
    schema = _object(section)
    if section is LISTENER:
        schema |= _by_protocol()
    if section is ROUTE:
        schema["allOf"] = [{"oneOf": [{"required": ["cluster"]}, {"required": ["clusters"]}]}]
    shorthand = section.key(section.shorthand)
    return {"oneOf": [_key(section, shorthand), schema]} if shorthand else schema


def _object(section: Section) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "description": section.about,
        "type": "object",
        "additionalProperties": False,
        "properties": {key.name: _key(section, key) for key in section.keys},
    }
    required = [key.name for key in section.keys if key.required]
    return schema | ({"required": required} if required else {})


def _key(section: Section, key: Key) -> dict[str, Any]:
    schema: dict[str, Any] = {"description": key.about}
    if isinstance(key.kind, Section):
        return schema | {"$ref": f"#/$defs/{key.kind.title}"}
    if isinstance(key.kind, Items):
        items = {"type": "array", "minItems": 1, "items": {"$ref": f"#/$defs/{key.kind.section.title}"}}
        return schema | ({"oneOf": [{"const": key.kind.word}, items]} if key.kind.word else items)
    schema |= key.kind.schema()
    default = section.default(key)
    if default is not None:
        # A duration is written with its unit; plain numbers stay numbers.
        schema["default"] = default if schema.get("type") in ("integer", "boolean") else key.kind.show(default)
    return schema


def _by_protocol() -> dict[str, Any]:
    """Which keys go with which protocol."""
    rules: list[dict[str, Any]] = [{"oneOf": [{"required": ["routes"]}, {"required": ["cluster"]}]}]
    for protocol in get_args(Protocol):
        foreign = [key.name for key in LISTENER.keys if key.only and protocol not in key.only]
        then: dict[str, Any] = {"properties": dict.fromkeys(foreign, False)} if foreign else {}
        rules.append({"if": {"properties": {"protocol": {"const": protocol}}}, "then": then})
    return {"allOf": rules}


def printed() -> str:
    """The schema as indented JSON text."""
    return msgspec.json.format(msgspec.json.encode(json_schema()), indent=2).decode()
