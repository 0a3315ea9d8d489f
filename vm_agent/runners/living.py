"""Changing what a process may use while it runs. Each function returns what it could not do, for people."""

from __future__ import annotations

import contextlib
import os
import resource
from pathlib import Path


def reprioritise(pid: int, nice: int) -> set[str]:
    """The priority of all its threads: it is a thread's, setpriority(2)."""
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(ProcessLookupError):
                os.setpriority(os.PRIO_PROCESS, int(thread.name), nice)
    except PermissionError as error:
        return {f"cpu_weight: a higher priority needs root: {error.strerror}"}
    except OSError:
        pass  # gone meanwhile
    return set()


def rescore(pid: int, score: int) -> set[str]:
    """How soon the kernel kills it when memory runs out, -1000 to 1000; proc_pid_oom_score_adj(5)."""
    try:
        Path(f"/proc/{pid}/oom_score_adj").write_text(str(score))
    except PermissionError as error:
        return {f"oom_score_adj: a lower one than it has needs root: {error.strerror}"}
    except OSError:
        pass  # gone meanwhile
    return set()


def refile(pid: int, files: int) -> set[str]:
    """How many files it may open, soft and hard; prlimit(2)."""
    try:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (files, files))
    except (PermissionError, ValueError) as error:
        return {f"open_files: what runs keeps the limit that it has: {error}"}
    except OSError:
        pass  # gone meanwhile
    return set()
