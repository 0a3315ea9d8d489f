"""What lies in the memory of a process (proc_pid_mem(5)), and the secrets that clients wrote down to look for there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from proxy.tls.keys import key_block, traffic_keys
from proxy.tls.suites import BY_ID, BY_NAME

PORTION = 1 << 24
OVERLAP = 100  # longer than any secret, also in hex: bytes


def memory(pid: int) -> Iterator[bytes]:
    """Every readable byte, in portions that overlap. Raises `PermissionError`."""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as mem:
        for start, end in _regions(pid):
            at = start
            while at < end:
                try:
                    mem.seek(at)
                    data = mem.read(min(PORTION, end - at))
                except OSError:
                    break  # of the kernel's own: vvar
                if not data:
                    break
                yield data
                behind = at + len(data)
                # The last bytes once more, for what lies across; a page that cannot be read ends a portion early,
                # and would have the same bytes read for ever.
                at = behind - OVERLAP if len(data) > OVERLAP and behind < end else behind


def _regions(pid: int) -> list[tuple[int, int]]:
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    found = [re.match(r"([0-9a-f]+)-([0-9a-f]+) r", line) for line in lines]
    return [(int(one[1], 16), int(one[2], 16)) for one in found if one and int(one[2], 16) < 1 << 63]


def copies(pid: int, needles: Mapping[str, bytes]) -> dict[str, int]:
    """How often each of these is there; those that are not are left out. Digits count apart, as `NAME in hex`."""
    forms = {**needles, **{f"{name} in hex": data.hex().encode() for name, data in needles.items()}}
    counts = dict.fromkeys(forms, 0)
    for portion in memory(pid):
        for name, form in forms.items():
            counts[name] += portion.count(form)
    return {name: count for name, count in counts.items() if count}


def secrets(keylog: Path, suite: str, server_random: bytes = b"") -> dict[str, bytes]:
    """What is secret about the one connection in a file that a client wrote (SSLKEYLOGFILE), and its keys.

    `server_random` is needed for the keys of TLS 1.2.
    """
    chosen = BY_ID[BY_NAME[suite]]
    lines = [line.split() for line in keylog.read_text().splitlines() if not line.startswith("#")]
    found: dict[str, bytes] = {}
    for label, random, secret in lines:
        if label in {"CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"}:
            found[label] = bytes.fromhex(secret)
            found[f"key of {label}"] = traffic_keys(chosen, bytes.fromhex(secret))[0]
        elif label == "CLIENT_RANDOM":
            found["master secret"] = bytes.fromhex(secret)
            pairs = key_block(chosen, bytes.fromhex(secret), bytes.fromhex(random), server_random)
            found |= {f"key of the {side}": key for side, (key, _) in zip(("client", "server"), pairs, strict=True)}
    assert found, f"{keylog} has no secrets"
    return found
