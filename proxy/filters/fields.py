"""``headers``: fields added, set or removed on the way to the upstream and back."""

from __future__ import annotations

import msgspec

from proxy.filters.api import FRAMING, Filter, Message, Request, Response, Settings, Verdict


class Edits(Settings, frozen=True):
    """Done in this order: remove, set, add."""

    remove: tuple[str, ...] = ()
    set: dict[str, str] = msgspec.field(default_factory=dict)
    add: dict[str, str] = msgspec.field(default_factory=dict)


class HeadersConfig(Settings, frozen=True):
    """See `Headers`."""

    request: Edits = Edits()
    response: Edits = Edits()


class Headers(Filter):
    """Edits heads."""

    Config = HeadersConfig

    def __init__(self, config: HeadersConfig) -> None:
        """Raises `ValueError`."""
        super().__init__(config)
        for edits in (config.request, config.response):
            for name in (*edits.remove, *edits.set, *edits.add):
                if name.lower() in FRAMING:
                    raise ValueError(f"{name} is not for filters to change")

    def request(self, request: Request, now: float) -> Verdict:
        """See `Filter`."""
        _edit(request, self.config.request)
        return None

    def response(self, response: Response, now: float) -> None:
        """See `Filter`."""
        _edit(response, self.config.response)


def _edit(message: Message, edits: Edits) -> None:
    for name in edits.remove:
        message.remove(name)
    for name, value in edits.set.items():
        message.set(name, value)
    for name, value in edits.add.items():
        message.add(name, value)
