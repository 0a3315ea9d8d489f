"""The JSON Schema (draft 2020-12) of a table of keys, for editors and other tools.

It knows every key and the form of every value. What needs a look across the file only the loader knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hotswap.settings.sections import Items, Key, Section

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema(
    title: str, root: Section, sections: Iterable[Section], rules: Mapping[str, dict[str, Any]] | None = None
) -> dict[str, Any]:
    """The schema as JSON-ready values. `rules` has what else holds for a section, by its title."""
    more = rules or {}
    return {
        "$schema": DIALECT,
        "title": title,
        **_object(root),
        **more.get(root.title, {}),
        "$defs": {section.title: _definition(section, more) for section in sections if section is not root},
    }


def printed(schema: dict[str, Any]) -> str:
    """The schema as indented JSON text."""
    return msgspec.json.format(msgspec.json.encode(schema), indent=2).decode()


def _definition(section: Section, rules: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    schema = _object(section) | rules.get(section.title, {})
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
        # A duration is written with its unit; plain numbers stay numbers. Of several forms the first counts.
        form = schema.get("anyOf", [schema])[0].get("type")
        schema["default"] = (
            list(default)
            if form == "array"
            else default
            if form in ("integer", "number", "boolean")
            else key.kind.show(default)
        )
    return schema
