"""The parts of a listener that have keys of their own. See `keys`."""

from __future__ import annotations

from typing import get_args

from proxy.config import model
from proxy.config.kinds import LOG_TARGET, Choice, LogTemplate, Name
from proxy.config.plain import Plain
from proxy.config.sections import Key, Section

FILTER = Section(
    "filter",
    model.FilterConfig,
    "Looks at connections or requests and decides about them, see [filters](filters.md). A plain value is short for "
    "`name`.",
    (
        Key(
            "name",
            Name(),
            "`fault`, `headers`, `rate_limit`, `rbac`, or that of an installed one.",
            required=True,
            example="rbac",
        ),
        Key("config", Plain(), "What the filter takes.", example="{rate: 100}", absent="its defaults"),
    ),
    shorthand="name",
)

ACCESS_LOG = Section(
    "access log",
    model.AccessLogConfig,
    "One line for each request of http1, for each connection of tcp, written at its end; see "
    "[the access log](access-log.md). A plain value is short for `to`.",
    (
        Key(
            "to",
            LOG_TARGET,
            "`stdout`, `journald`, or the absolute path of a file, which SIGUSR1 opens anew.",
            required=True,
            example="/var/log/edge.log",
        ),
        Key("format", Choice(get_args(model.LogFormat)), "Lines of text, or a JSON object a line."),
        Key(
            "template",
            LogTemplate(),
            "The [fields](access-log.md#fields) of a line in braces, and what stands between them; for json the fields "
            "alone count.",
            example='"{time} {client} {status}"',
            absent="all fields",
        ),
    ),
    shorthand="to",
)
