"""The chain of generations: who served, who took over from whom, and what came of each attempt.

It is part of what moves, so any generation can tell the whole story, and can tell a successor
that comes back (a supervisor restarting the old version) from a new one.
"""

from __future__ import annotations

import msgspec

from hotswap.errors import UsageError

LIMIT = 64  # records kept
ENCODED_LIMIT = 24 * 1024  # bytes: the chain travels in FINAL, next to the shared state


class Record(msgspec.Struct, omit_defaults=False):
    """One generation, or one attempt that failed to become one."""

    generation: int
    version: str
    build: str
    config_id: str
    command: list[str]
    cwd: str
    pid: int
    began: float  # seconds since the epoch
    how: str  # cold | upgrade | takeover | rollback | crash (listeners only)
    outcome: str = "serving"
    downtime_ms: float = 0.0
    listeners: int = 0
    connections: int = 0
    in_flight: int = 0
    reloads: int = 0  # configurations it took in place; `config_id` is that of the last
    reloaded: float = 0.0  # when, seconds since the epoch; 0: never

    @property
    def identity(self) -> str:
        """Same code, same configuration."""
        return f"{self.build}/{self.config_id}"


class Chain(msgspec.Struct):
    """All records, oldest first, and the identities that were superseded."""

    records: list[Record] = []
    superseded: list[str] = []

    def add(self, record: Record) -> None:
        """A generation owns, or an attempt failed; the oldest records go."""
        self.records.append(record)
        while (len(self.records) > LIMIT or len(self.encode()) > ENCODED_LIMIT) and self._drop_oldest():
            pass

    def _drop_oldest(self) -> bool:
        """However many attempts fail, and however wordily: who serves and who served before stay."""
        needed = (self.current(), self._before())
        for at, record in enumerate(self.records[:-1]):
            if record not in needed:
                del self.records[at]
                return True
        return False

    def supersede(self, by: int) -> None:
        """The serving generation gave everything to generation `by`."""
        current = self.current()
        if current is not None:
            current.outcome = f"superseded by generation {by}"
            if current.identity not in self.superseded:
                self.superseded.append(current.identity)
            del self.superseded[:-LIMIT]

    def reloaded(self, config_id: str, at: float) -> None:
        """The serving generation took a new configuration in place."""
        current = self.current()
        if current is not None:
            current.config_id, current.reloaded = config_id, at
            current.reloads += 1

    def current(self) -> Record | None:
        """The serving generation."""
        return next((record for record in reversed(self.records) if record.outcome == "serving"), None)

    def previous(self) -> Record:
        """The generation to roll back to: the last that served before this one. Raises `UsageError`."""
        record = self._before()
        if record is None:
            raise UsageError("there is no earlier generation to roll back to")
        return record

    def _before(self) -> Record | None:
        return next((record for record in reversed(self.records) if record.outcome.startswith("superseded")), None)

    def encode(self) -> bytes:
        """For FINAL."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> Chain:
        """From FINAL. Raises `msgspec.DecodeError`."""
        return msgspec.msgpack.decode(data, type=cls) if data else cls()
