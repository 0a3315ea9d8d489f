"""Being somebody else: as processes in containers are, with a uid and groups of their own and no capability at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass

import pytest

COMMON = 2_000_000
"""A group that nobody has but by a test."""


@dataclass(frozen=True)
class User:
    """A user with a primary group of its own, and with others besides."""

    uid: int
    groups: tuple[int, ...] = ()

    def command(self, argv: list[str]) -> list[str]:
        """A command line that runs this as the user."""
        groups = ["--groups", ",".join(map(str, self.groups))] if self.groups else ["--clear-groups"]
        who = ["--reuid", str(self.uid), "--regid", str(self.uid), *groups]
        return ["setpriv", *who, "--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all", *argv]

    def run(self, work: Callable[[], object]) -> str:
        """Run a function as the user, in a process of its own: what it returned, as text. Fails if it raised."""
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.close(reading)
                os.setgroups(self.groups)
                os.setresgid(self.uid, self.uid, self.uid)
                os.setresuid(self.uid, self.uid, self.uid)
                os.write(writing, str(work()).encode())
                status = 0
            except BaseException:  # noqa: BLE001 - pytest must not go on in there
                os.write(writing, traceback.format_exc().encode())
            finally:
                os._exit(status)
        os.close(writing)
        with os.fdopen(reading, "rb") as told:
            answer = told.read().decode()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, answer
        return answer


def permitted() -> bool:
    """Only root can become others, and these must be able to run this interpreter."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        return False
    argv = User(1001).command([sys.executable, "-c", ""])
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


needs_users = pytest.mark.skipif(not permitted(), reason="only root can be somebody else, by setpriv of util-linux")
