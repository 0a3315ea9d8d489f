"""May this caller take over? Refusing is free here: nothing has moved yet."""

from __future__ import annotations

from collections.abc import Mapping

from hotswap.chain import Chain, Record
from hotswap.errors import Busy, Draining, Refused, Superseded
from hotswap.handover import wire
from hotswap.swappable import Schema, Swappable

SPARE_FDS = 64  # a destination needs beyond the descriptors that move


def judge(
    hello: wire.Hello,
    server: Swappable,
    chain: Chain,
    *,
    listeners: int,
    draining: bool,
    spawned: bool,
    awaited: bool,
) -> dict[str, int]:
    """The schema version to write for each state kind. Raises the refusal.

    `spawned`: this is the generation that an upgrade under way started; `awaited`: there is such an upgrade.
    """
    if awaited and not spawned:
        raise Busy("an upgrade is under way, and this generation is not the one it waits for")
    if draining:
        raise Draining("the serving generation is draining; it will end by itself")
    if not spawned and hello.takeover != "require":
        newer(hello, chain)
    if hello.protocol.oldest > wire.PROTOCOL_NEWEST or hello.protocol.newest < wire.PROTOCOL_OLDEST:
        raise Refused(
            f"no common protocol version: this side speaks {wire.PROTOCOL_OLDEST} to {wire.PROTOCOL_NEWEST}, "
            f"the other {hello.protocol.oldest} to {hello.protocol.newest}; upgrade by way of a version between"
        )
    needed = server.count() + listeners + SPARE_FDS
    if hello.nofile and hello.nofile - hello.open_fds < needed:
        raise Refused(f"the new generation may open {hello.nofile} files and needs {needed} more: raise RLIMIT_NOFILE")
    return agree(server.schemas(), hello.schemas)


def newer(hello: wire.Hello, chain: Chain) -> None:
    """Whether a caller that nobody asked to come is one to give everything to. Raises `Superseded`.

    A supervisor that restarts what just gave everything away must not turn an upgrade back. Where the orchestrator
    counts its versions the count decides: one that is higher than any that served is news, one that is lower than the
    one that serves is none. Between the two (it served, and left, and comes back) and without a count it is who was
    superseded that decides: that build and configuration, or that build with the configuration that serves, which its
    successor may have reloaded.
    """
    current = chain.current()
    identity = f"{hello.build}/{hello.config_id}"
    if hello.takeover == "newer" and current is not None and identity == current.identity:
        raise Superseded("this build and configuration serve already: there is nothing newer here")
    serving = current.revision if current is not None else -1
    if hello.revision >= 0 and serving >= 0:
        if hello.revision > chain.newest:
            return
        if hello.revision <= serving:
            raise Superseded(f"revision {serving} serves already, and this is revision {hello.revision}")
    builds = {one.partition("/")[0] for one in chain.superseded}
    reloaded = current is not None and hello.config_id == current.config_id and hello.build != current.build
    if identity in chain.superseded or (reloaded and hello.build in builds):
        raise Superseded(
            "a later generation superseded this build and configuration; "
            "to go back all the same use --takeover=require, or `hotswap rollback`"
        )


def agree(ours: Mapping[str, Schema], theirs: Mapping[str, Schema]) -> dict[str, int]:
    """The newest version of each kind that both understand. Raises `Refused`."""
    chosen = {}
    for kind, schema in ours.items():
        other = theirs.get(kind)
        if other is None:
            raise Refused(
                f"the new generation does not know connections of kind {kind!r}: go by way of a version between"
            )
        version = min(schema.newest, other.newest)
        if version < max(schema.oldest, other.oldest):
            raise Refused(
                f"no common version of the state kind {kind!r}: {schema.oldest} to {schema.newest} here, "
                f"{other.oldest} to {other.newest} there; upgrade by way of a version between"
            )
        chosen[kind] = version
    return chosen


def failed(hello: wire.Hello, generation: int, why: str, now: float) -> Record:
    """For the history: who did not become a generation."""
    how = "upgrade" if hello.token else "takeover"
    return Record(
        generation,
        hello.version,
        hello.build,
        hello.config_id,
        list(hello.command),
        hello.cwd,
        hello.pid,
        now,
        how,
        f"failed: {why}",
        revision=hello.revision,
        place=hello.place,
    )
