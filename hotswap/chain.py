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
    restores: int = 0  # after a rollback: the generation that this one brought back
    baked: str = ""  # how its probation ended
    revision: int = -1  # the orchestrator's order of versions; -1: it gave none
    place: str = ""  # the container, see `hotswap.place`

    @property
    def identity(self) -> str:
        """Same code, same configuration."""
        return f"{self.build}/{self.config_id}"


class Bake(msgspec.Struct, frozen=True):
    """How long a new generation is on probation, and what condemns it. See `hotswap.bake`."""

    seconds: float
    error_rate: float | None = None  # share of failed requests above which it is taken back
    crashes: int | None = None  # so many bugs that showed
    min_requests: int = 20  # before the rate says anything


class Intent(msgspec.Struct, frozen=True):
    """What the handover under way is meant to be: from the source, which was told, for the destination."""

    how: str = ""
    why: str = ""
    restores: int = 0  # a rollback: the generation whose command this is
    bake: Bake | None = None
    leaving: bool = False  # the source was told to end: nobody found anything wrong with it


class Chain(msgspec.Struct, omit_defaults=True):
    """All records, oldest first, and the identities that were superseded."""

    records: list[Record] = []
    superseded: list[str] = []
    intent: Intent | None = None
    newest: int = -1  # the highest revision that ever served

    def add(self, record: Record) -> None:
        """A generation owns, or an attempt failed; the oldest records go."""
        self.records.append(record)
        if record.outcome == "serving" and record.identity in self.superseded:
            self.superseded.remove(record.identity)  # it was brought back
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
        current, intent = self.current(), self.intent
        if current is not None:
            back = intent is not None and intent.how == "rollback"
            why = f": {intent.why}" if intent is not None and intent.why else ""
            current.outcome = f"rolled back by generation {by}{why}" if back else f"superseded by generation {by}"
            if current.identity not in self.superseded and not (intent is not None and intent.leaving):
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
        current = self.current()
        # After a rollback "before" is seen from the generation that was brought back.
        limit = (current.restores or current.generation) if current is not None else float("inf")
        earlier = (record for record in reversed(self.records) if record.outcome.startswith("superseded"))
        return next((record for record in earlier if record.generation < limit), None)

    def encode(self) -> bytes:
        """For FINAL."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> Chain:
        """From FINAL. Raises `msgspec.DecodeError`."""
        return msgspec.msgpack.decode(data, type=cls) if data else cls()
