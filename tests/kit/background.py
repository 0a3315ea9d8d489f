"""Something that goes on in a thread while a test does something else."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

PATIENCE = 20.0


class Background:
    """Runs `run` from entering until leaving; it looks at `over`, often."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self._thread = threading.Thread(target=self.run, name=type(self).__name__)

    def run(self) -> None:
        """Until `over` is set."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self._thread.join(PATIENCE)
