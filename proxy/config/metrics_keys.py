"""The keys of `metrics`. See `keys`."""

from __future__ import annotations

from hotswap.settings.kinds import Count, Duration, Flag
from hotswap.settings.sections import Key, Section
from proxy.config import model

METRICS = Section(
    "metrics",
    model.MetricsConfig,
    "What [metrics](metrics.md) are counted with. Changes take effect with the next start or upgrade.",
    (
        Key(
            "shared",
            Flag(),
            "Keep them in POSIX shared memory under a name, so that they go on after a crash. Else they go on through "
            "upgrades only.",
        ),
        Key(
            "per_endpoint",
            Flag(),
            "Count for each endpoint. Else all endpoints of a cluster are counted together, under an empty name.",
        ),
        Key(
            "first_bucket",
            Duration(0.00001),
            "The upper bound of the first bucket of durations; each is twice the one before.",
        ),
        Key("buckets", Count(1, 60), "How many of them."),
    ),
)
