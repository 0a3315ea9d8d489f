"""Where an access log goes in the simulated world."""

from __future__ import annotations

NOON = 1_800_014_400.0  # 2027-01-15T12:00:00Z, when every world begins


class LineSink:
    """Where an access log goes: nothing waits, and every generation writes to the same list."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines

    def put(self, line: bytes) -> None:
        text = line.decode("ascii")
        assert text.count("\n") == 1
        self.lines.append(text.removesuffix("\n"))

    def start(self) -> None:
        pass

    def flush(self) -> None:
        pass

    def reopen(self) -> None:
        pass

    def close(self) -> None:
        pass

    def status(self) -> dict[str, int]:
        return {"lines": len(self.lines)}
