"""Any text is a spec or a list of problems, and what the loader takes the schema takes too."""

from __future__ import annotations

import random
import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from hotswap.settings.loader import build, read_text
from hotswap.settings.problems import InvalidConfig
from hotswap.settings.sections import Form
from vm_agent.spec.checks import check_keys, check_settings
from vm_agent.spec.elsewhere import ELSEWHERE
from vm_agent.spec.keys import FORM, SECTIONS
from vm_agent.spec.loader import _complete
from vm_agent.spec.schema import settings_schema, spec_schema
from vm_agent.spec.settings_keys import SETTINGS_FORM, SETTINGS_SECTIONS

ROUNDS = 300
REMEDY = re.compile(r"^x\.yaml(:\d+)?: .*(; |did you mean|: write |missing; add)", re.DOTALL)

SPEC = """\
name: edge
release: 1.4.2
config: edge.yaml
command: [bin/hotswap, run, "{config}"]
run:
  user: hotswap
  limits: {memory: 512M, memory_share: 25%, cpu: 0.5, oom_score_adj: 500}
  capabilities: [CAP_NET_ADMIN]
  environment: {TZ: UTC}
health: {http: /ready, interval: 2s, timeout: 1s, failures: 3}
upgrade: {bake: 60s, abort_if: {error_rate: 1%, p99_latency: 2x, crashes: never}, window: "02:00-05:00"}
intercept:
  - {mode: tproxy, ports: [80, 443], to: 15001, exempt_mark: 0x10}
"""
SETTINGS = """\
specs: /etc/hotswap/sidecars
state: /var/lib/hotswap
runner: systemd
releases: {source: dist, keep: 3, index: default, checksums: required}
http: {address: 0.0.0.0:9443, certificate: a.pem, key: a.key, client_ca: ca.pem, allow: [one.example.com]}
patrol: 5m
"""
SYNTAX = [
    "{",
    "}",
    "[",
    "]",
    ": ",
    ", ",
    "- ",
    "\n",
    "\n  ",
    "'",
    '"',
    "~",
    "\t",
    "#",
    "&a ",
    "*a",
    "!x ",
    "\0",
    "\ufeff",
]
_VALUES = "on 0 -1 1.5 1e3 0x10 2x 1% 0% 5s 0s 512M never .inf 1:30 02:00-03:00 24:00 2026-01-01 é .."
WORDS = [
    *SYNTAX,
    *_VALUES.split(),
    *ELSEWHERE,
    *sorted({key.name for section in (*SECTIONS, *SETTINGS_SECTIONS) for key in section.keys}),
]


def spoiled(text: str, choice: random.Random) -> str:
    """The text with up to three places overwritten."""
    for _ in range(choice.randint(0, 3)):
        place = choice.randrange(len(text))
        text = text[:place] + choice.choice(WORDS) + text[place + choice.choice([0, 0, 1, 4, 9]) :]
    return text


def foreign(value: Any) -> bool:
    """JSON has no dates: a release may be one."""
    return isinstance(value, date)


@pytest.mark.parametrize(
    ("form", "check", "text", "schema"),
    [(FORM, check_keys, SPEC, spec_schema()), (SETTINGS_FORM, check_settings, SETTINGS, settings_schema())],
    ids=["spec", "settings"],
)
def test_any_text_is_taken_whole_or_refused_with_remedies(form: Form, check: Any, text: str, schema: Any) -> None:
    validator, choice = Draft202012Validator(schema), random.Random(7)
    taken, refused = 0, list[str]()
    for _ in range(ROUNDS):
        candidate = spoiled(text, choice)
        try:
            part, _ = read_text(candidate, "x.yaml", form, check)
        except InvalidConfig as invalid:
            refused += str(invalid).splitlines()
            continue
        build(part, Path("/"), _complete)
        taken += 1
        try:
            value = yaml.safe_load(candidate)
        except (yaml.YAMLError, ValueError):  # the pure parser refuses more
            continue
        assert [error.message for error in validator.iter_errors(value) if not foreign(error.instance)] == [], candidate
    assert [line for line in refused if not REMEDY.search(line)] == []
    assert taken > ROUNDS / 10
