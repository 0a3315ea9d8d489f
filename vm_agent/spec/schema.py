"""JSON Schemas of specs and of the agent's settings, for editors and other tools. See `hotswap.settings.schema`."""

from __future__ import annotations

from typing import Any

from hotswap.settings.schema import json_schema
from vm_agent.spec.keys import SECTIONS, SPEC
from vm_agent.spec.settings_keys import SETTINGS, SETTINGS_SECTIONS


def spec_schema() -> dict[str, Any]:
    """That of a spec, as JSON-ready values."""
    return json_schema("hotswap sidecar", SPEC, SECTIONS)


def settings_schema() -> dict[str, Any]:
    """That of agent.yaml, as JSON-ready values."""
    return json_schema("hotswap agent", SETTINGS, SETTINGS_SECTIONS)
