"""nftables by nft(8), a process for each transaction.

Not by libnftables, the library that it is made of, in the agent's own process: that calls select(2) and aborts with a
descriptor above 1023, aborts on answers that it does not expect, and exits when memory is short. An agent that holds
the listeners of many sidecars is not to die of that. Nor by messages of netlink made by hand, which would spell out
each rule in registers of the kernel's virtual machine. Commands go in as the text that people know, so that complaints
point into it; what is there comes out as JSON, libnftables-json(5). All commands of one run are one transaction.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import msgspec

from vm_agent.errors import InterceptionFailed

PROGRAM: Final = "nft"
_SEARCHED: Final = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin"
_SECONDS: Final = 60.0  # the kernel may take ten while it removes network namespaces
_NET_ADMIN: Final = 12  # linux/capability.h
_PLACE = re.compile(r"^(?:\S+:\d+:\d+(?:-\d+)?: )?(?:netlink: )?Error: ")


def usable() -> bool:
    """Whether the program is there, and this thread may change anything. If not, nothing of the agent's is there."""
    return shutil.which(PROGRAM, path=_SEARCHED) is not None and _permitted()


def run(commands: str) -> None:
    """Have all of it take effect, or nothing. Raises `InterceptionFailed` with what the kernel, or nft, said."""
    _call(["-f", "-"], commands)


def listing(*what: str) -> dict[str, Any]:
    """What `nft list WHAT` tells. Raises `InterceptionFailed`."""
    return msgspec.json.decode(_call(["-j", "list", *what]) or "{}", type=dict[str, Any])


def _permitted() -> bool:
    status = Path("/proc/thread-self/status").read_text()
    effective = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective.split()[1], 16) >> _NET_ADMIN & 1)


def _call(arguments: list[str], commands: str = "") -> str:
    program = shutil.which(PROGRAM, path=_SEARCHED)
    if program is None:
        raise InterceptionFailed(f"{PROGRAM} is missing: install nftables")
    try:
        done = subprocess.run(
            [program, *arguments],
            input=commands,
            capture_output=True,
            text=True,
            errors="replace",
            env={"PATH": _SEARCHED, "LC_ALL": "C"},
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InterceptionFailed(
            f"nft did not end within {_SECONDS:g} s; `nft list ruleset` tells what took effect, dmesg perhaps why"
        ) from None
    except OSError as error:
        raise InterceptionFailed(f"{program} cannot be started: {os.strerror(error.errno or 0)}") from None
    if done.returncode:
        raise InterceptionFailed(explained(done.stderr or done.stdout))
    return done.stdout


def explained(complaint: str) -> str:
    """The words of nft or of the kernel, the command that was refused, and what to do."""
    lines = complaint.strip().splitlines() or ["no reason was given"]
    words = _PLACE.sub("", lines[0])
    refused = f", at: {lines[1].strip()}" if len(lines) > 1 else ""
    if "not permitted" in words:
        remedy = "the agent needs CAP_NET_ADMIN"
    elif "User does not exist" in words:
        remedy = "correct run.user, or make that user"
    elif "No such file" in words or "not supported" in words:
        remedy = "the kernel lacks a part of nftables: modprobe nft_tproxy nft_redir nft_chain_nat nft_fib_inet"
    else:
        remedy = "see `nft list ruleset` for what is there"
    return f"nftables: {words}{refused}; {remedy}"
