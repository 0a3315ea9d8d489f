"""A new process for a sidecar, that is nobody's but the agent's to wait for."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from vm_agent.errors import StartFailed
from vm_agent.runners.base import Launch
from vm_agent.runners.output import Output


def spawn(launch: Launch, command: list[str], environment: dict[str, str], fds: Sequence[int], output: Output) -> int:
    """Start it in a session of its own, with these descriptors; its pid. Raises `StartFailed`."""
    try:
        with output.open() as file:
            process = subprocess.Popen(
                command,
                env=environment,
                cwd=launch.directory,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                pass_fds=fds,
                start_new_session=True,
            )
    except OSError as error:
        raise StartFailed(f"{launch.name}: no process for it: {error.filename}: {error.strerror}") from None
    process.returncode = 0  # `subprocess` is not to wait for it
    return process.pid
