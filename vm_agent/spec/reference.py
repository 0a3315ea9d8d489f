"""Writes docs/agent-spec.md from the tables of keys: ``python -m vm_agent.spec.reference > docs/agent-spec.md``.

A test compares the page with what this makes, so the page cannot lag behind.
"""

from __future__ import annotations

import sys

from hotswap.settings.reference import table
from vm_agent.spec.keys import ABORT_IF, HEALTH, LIMITS, REDIRECT, RUN, SPEC, UPGRADE
from vm_agent.spec.settings_keys import HTTP, RELEASES, SETTINGS

HEAD = """\
# Specs of sidecars, and settings of the agent

<!-- Made by `python -m vm_agent.spec.reference > docs/agent-spec.md`; change vm_agent/spec/keys.py instead. -->

One YAML file in the agent's directory of specs describes one sidecar: its release, its configuration, what it may use,
and what makes a new release good. [examples/sidecar.yaml](../examples/sidecar.yaml) is one with comments:

```yaml
name: edge
release: 1.4.2
config: /etc/hotswap/edge.yaml
run: {user: hotswap, limits: {memory: 512M, cpu: 0.5, oom_score_adj: 500}}
health: {http: /ready, interval: 2s, timeout: 1s, failures: 3}
upgrade: {bake: 60s, abort_if: {error_rate: 1%, p99_latency: 2x, crashes: 1}, window: "02:00-05:00"}
```

The directory is watched. A new file starts a sidecar, a changed one changes it, one that is gone ends it. A file with
an error changes nothing: its sidecar goes on as it was, and the agent says file, line, key and remedy.

Only files whose names end in `.yaml` and do not begin with a dot are specs, and not those that a spec names as its
`config`. A spec decides what runs, perhaps as root: one that belongs to somebody else than root or the agent's user,
or that everybody may write, is refused. A spec has 64 KB at most, the directory 500 specs.

## Forms

| form | written |
|---|---|
| duration | a number and a unit, `ms`, `s`, `m`, `h` or `d`: `500ms`, `2s`, `5m`; a number alone is refused |
| size | a number and `K`, `M`, `G` or `T` (1K is 1024 bytes; `M`, `MB` and `MiB` are the same), or bytes |
| percentage | `25%`, `0.5%` |
| multiple | `2x`, `1.5x` |
| cores | `0.5`, `2` |
| name | 1 to 64 of the characters `A-Z a-z 0-9 _ . -`, the first a letter, a digit or `_` |
| release | 1 to 64 of the characters `A-Z a-z 0-9 . _ + -`, the first a letter or a digit; no two dots in a row |
| path | of a file; relative to the directory of the file it stands in, or absolute |

YAML 1.1 reads some unquoted words as numbers or booleans (`1`, `on`, `yes`): where a text is wanted, write them in
quotes. Aliases (`*name`), merge keys (`<<`), tags and repeated keys are refused.
"""

SETTINGS_HEAD = """
# The settings of the agent

`/etc/hotswap/agent.yaml` has the settings of the agent itself;
[examples/agent.yaml](../examples/agent.yaml) is one with comments. A short one:

```yaml
releases: {source: /srv/hotswap/releases, checksums: required}
```
"""

TITLES = (
    (SPEC, "The spec"),
    (RUN, "run"),
    (LIMITS, "run: limits"),
    (HEALTH, "health"),
    (UPGRADE, "upgrade"),
    (ABORT_IF, "upgrade: abort_if"),
    (REDIRECT, "intercept"),
)
SETTINGS_TITLES = (
    (SETTINGS, "agent.yaml"),
    (RELEASES, "releases"),
    (HTTP, "http"),
)


def page() -> str:
    """The whole page."""
    specs = "".join(table(section, title) for section, title in TITLES)
    settings = "".join(table(section, title) for section, title in SETTINGS_TITLES)
    return HEAD + specs + SETTINGS_HEAD + settings


if __name__ == "__main__":
    sys.stdout.write(page())
