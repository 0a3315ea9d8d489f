"""Who watches a sidecar: every event goes to them as it happens, and in the end what came of it.

{"event": "state", "name": "edge", "state": "moving", "why": ""}
{"event": "note", "name": "edge", "what": "rehearsed", "text": "...", ...}
what a handover tells (see `hotswap.upgrade`): spawned, connected, round, freezing, owned; its result as "outcome"
{"event": "result", "name": "edge", "ok": true, "exit_code": 0, "message": "...", "release": "1.5.0", ...}
"""

from __future__ import annotations

from typing import Any

from hotswap.http import EventStream


class Audience:
    """Of one sidecar."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._streams: list[EventStream] = []
        self.outcome: tuple[int, str] | None = None
        """Exit code and message of what was begun since somebody watches."""

    def __bool__(self) -> bool:
        return bool(self._streams)

    def join(self) -> EventStream:
        """Another one, from now on."""
        if not self._streams:
            self.outcome = None
        stream = EventStream()
        self._streams.append(stream)
        return stream

    def tell(self, event: dict[str, Any]) -> None:
        """Everybody."""
        for stream in self._streams:
            stream.send({**event, "name": self._name})

    def follow(self, event: dict[str, Any]) -> None:
        """What a handover tells. How it ended is not the end here."""
        self.tell({**event, "event": "outcome"} if event.get("event") == "result" else event)

    def dismiss(self, result: dict[str, Any] | None = None) -> None:
        """It is over; without a result for those who do not hear the end of it, since the agent ends."""
        streams, self._streams = self._streams, []
        for stream in streams:
            if result is not None:
                stream.send(result)
            stream.end()
