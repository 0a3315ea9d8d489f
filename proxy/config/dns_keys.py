"""The keys of `dns`. See `keys`."""

from __future__ import annotations

from hotswap.settings.kinds import Duration
from hotswap.settings.sections import Key, Section
from proxy.config import model
from proxy.config.hosts import NameServers

DNS = Section(
    "dns",
    model.DnsConfig,
    "How the names of endpoints are looked up ([more](dns.md)). Search list, `ndots` and `attempts` come from "
    "/etc/resolv.conf; /etc/hosts comes first.",
    (
        Key(
            "nameservers",
            NameServers(),
            "Recursive servers, asked in turn; port 53 may be left out.",
            example="[10.0.0.2]",
            absent="those of /etc/resolv.conf",
        ),
        Key(
            "timeout",
            Duration(0.01),
            "For one server to answer; then the next is asked.",
            example="2s",
            absent="as /etc/resolv.conf says, else 5s",
        ),
        Key("min_ttl", Duration(0.1), "A name is asked for again after its TTL, but not sooner."),
        Key("max_ttl", Duration(0.1), "And not later."),
        Key(
            "wait",
            Duration(0.0),
            "After a start `/ready` fails until every name had an answer, but not for longer than this.",
        ),
    ),
)
