"""`hotswap run` that looks at itself: on whose behalf the time of the CPU goes.

    python -m tests.bench.sampled run -c FILE

SIGUSR2 begins to count, a second one ends it and writes what was found to the file that SAMPLES names. At every
millisecond of CPU time, that of the kernel included, the function under way is noted; one in C, and a system call,
counts for the one that called it.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path
from types import FrameType

from hotswap.cli.main import main

EVERY = 0.001
SAMPLES = "HOTSWAP_BENCH_SAMPLES"


class Sampler:
    """Counts functions by file and name."""

    def __init__(self, results: Path) -> None:
        self.results = results
        self.seen: Counter[tuple[str, str]] = Counter()
        self.counting = False

    def install(self) -> None:
        """Be ready for SIGUSR2."""
        signal.signal(signal.SIGUSR2, self.switch)
        signal.signal(signal.SIGPROF, self.look)

    def look(self, _: int, frame: FrameType | None) -> None:
        """The timer rang."""
        if frame is not None:
            self.seen[frame.f_code.co_filename, frame.f_code.co_qualname] += 1

    def switch(self, *_: object) -> None:
        """Begin, or end."""
        self.counting = not self.counting
        signal.setitimer(signal.ITIMER_PROF, EVERY if self.counting else 0, EVERY)
        if not self.counting:
            fresh = self.results.with_suffix(".new")
            fresh.write_text(json.dumps([[*key, count] for key, count in self.seen.items()]))
            fresh.rename(self.results)


if __name__ == "__main__":
    Sampler(Path(os.environ[SAMPLES])).install()
    main()
