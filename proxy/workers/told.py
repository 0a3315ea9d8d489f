"""What a crew tells of all its workers, out of what each of them told last."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from hotswap.swappable import Tally

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.workers.hand import Hand
    from proxy.workers.words import Told


def tally(own: Tally, told: Sequence[Told]) -> Tally:
    """Together, also with those that have ended."""
    return Tally(
        own.requests + sum(one.answered for one in told),
        own.failed + sum(one.failed for one in told),
        own.crashes + sum(one.bugs for one in told),
    )


def status(own: dict[str, Any], connections: int, hands: Sequence[Hand], past: Sequence[Told]) -> dict[str, Any]:
    """`own`: what this process says, which has so many connections; `past`: what workers said that were replaced.

    With a line for each worker.
    """
    used = os.times()
    rows: list[dict[str, Any]] = [
        {"worker": 0, "pid": os.getpid(), "state": "serves", "connections": connections, "cpu": used[0] + used[1]}
    ]
    for hand in hands:
        told, state = hand.told, "serves" if hand.lives and hand.ready else "starts" if hand.lives else "ended"
        figures = {"connections": told.connections, "cpu": round(told.cpu, 3)} if hand.lives else {}
        rows.append({"worker": hand.number, "pid": hand.pid, "state": state, **figures})
    for one in (*(hand.told for hand in hands), *past):
        own["accepted"] += one.accepted
        own["bugs"] += one.bugs
        for listener in own["listeners"]:
            counts = one.listeners.get(listener["address"], (0, 0, 0))
            for key, count in zip(("connections", "answered", "failed"), counts, strict=True):
                listener[key] += count
    for row in rows:
        row["line"] = f"worker {row['worker']}, pid {row['pid']}, {row['state']}"
        if "cpu" in row:
            row["line"] += f", {row['connections']} connections, {row['cpu']:.2f} s of CPU"
    return {**own, "workers": rows}


def encryption(own: list[dict[str, Any]], others: Sequence[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Of clusters: what is wanted is the same everywhere, connections are counted together."""
    clusters = {one["name"]: one for one in own}
    for one in (entry for entries in others for entry in entries if entry["name"] in clusters):
        whole = clusters[one["name"]]
        whole["settled"] = whole["settled"] and one["settled"]
        for key in ("retiring", "retiring_in_flight"):
            whole[key] += one[key]
        for key in ("plaintext", "tls"):
            whole["relayed"][key] += one["relayed"][key]
        endpoints = {endpoint["address"]: endpoint for endpoint in whole["endpoints"]}
        for endpoint in one["endpoints"]:
            known = endpoints.get(endpoint["address"])
            if known is None:
                whole["endpoints"].append(endpoint)
                continue
            for key in ("plaintext", "tls", "succeeding"):
                known[key] += endpoint[key]
    return own
