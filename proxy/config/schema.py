"""The JSON Schema of the configuration (draft 2020-12), for editors and other tools.

It knows every key and the form of every value. What needs a look across the file (names that
refer to each other, addresses that collide) only ``hotswap check`` knows.
"""

from __future__ import annotations

from typing import Any, get_args

from hotswap.settings import schema
from proxy.config.keys import ROOT, SECTIONS
from proxy.config.listener_keys import LISTENER
from proxy.config.model import Protocol
from proxy.config.route_keys import ROUTE


def json_schema() -> dict[str, Any]:
    """The schema as JSON-ready values."""
    one_target = [{"oneOf": [{"required": ["cluster"]}, {"required": ["clusters"]}]}]
    rules = {LISTENER.title: _by_protocol(), ROUTE.title: {"allOf": one_target}}
    return schema.json_schema("hotswap proxy configuration", ROOT, SECTIONS, rules)


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
    return schema.printed(json_schema())
