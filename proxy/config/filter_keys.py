"""The keys of a filter. See `keys`."""

from __future__ import annotations

from hotswap.settings.kinds import Name
from hotswap.settings.sections import Key, Section
from proxy.config import model
from proxy.config.plain import Plain

FILTER = Section(
    "filter",
    model.FilterConfig,
    "Looks at connections or requests and decides about them, see [filters](filters.md). A plain value is short for "
    "`name`.",
    (
        Key(
            "name",
            Name(),
            "`fault`, `headers`, `mirror`, `rate_limit`, `rbac`, or that of an installed one.",
            required=True,
            example="rbac",
        ),
        Key("config", Plain(), "What the filter takes.", example="{rate: 100}", absent="its defaults"),
    ),
    shorthand="name",
)
