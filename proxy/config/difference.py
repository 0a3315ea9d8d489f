"""What differs between two configurations: for a reload to apply, and for people to see.

Listeners are the same if their address is, as in a handover; clusters if their name is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from hotswap.reload import Change
from proxy.config.model import Config, meaning

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from proxy.config.model import ListenerConfig, RouteConfig

How = Literal["added", "removed", "changed"]

_SHOWN_BY_ITSELF = frozenset({"listeners", "clusters", "routes", "endpoints"})


def difference(old: Config, new: Config) -> list[Change]:
    """Every difference, listeners first; empty if both mean the same."""
    return [*_listeners(old, new), *_clusters(old, new), *_settings(old, new)]


def _listeners(old: Config, new: Config) -> Iterator[Change]:
    before = {str(one.address): one for one in old.listeners}
    after = {str(one.address): one for one in new.listeners}
    for address, how in _hows(before, after):
        if how != "changed":
            one = (after if how == "added" else before)[address]
            yield Change("listener", one.name, how, address)
            continue
        fields = _fields(before[address], after[address])
        if fields:
            yield Change("listener", after[address].name, how, fields)
        yield from _routes(before[address], after[address])


def _routes(old: ListenerConfig, new: ListenerConfig) -> Iterator[Change]:
    """Routes have no name: one that matches the same is the same."""
    before = {_match(one): one for one in old.routes}
    after = {_match(one): one for one in new.routes}
    changed = False
    for match, how in _hows(before, after):
        name = f"{new.name}: {match}"
        if how != "changed":
            yield Change("route", name, how, f"to {(after if how == 'added' else before)[match].cluster}")
            changed = True
        elif fields := _fields(before[match], after[match]):
            yield Change("route", name, how, fields)
            changed = True
    if not changed and old.routes != new.routes:
        yield Change("route", f"{new.name}: the order", "changed", "the first that matches decides")


def _match(route: RouteConfig) -> str:
    conditions = meaning(route.match)
    return " ".join(f"{name} {_text(value)}" for name, value in conditions.items()) if conditions else "every request"


def _clusters(old: Config, new: Config) -> Iterator[Change]:
    before = {one.name: one for one in old.clusters}
    after = {one.name: one for one in new.clusters}
    for name, how in _hows(before, after):
        if how != "changed":
            yield Change("cluster", name, how)
            continue
        there = {str(one.address): one for one in before[name].endpoints}
        here = {str(one.address): one for one in after[name].endpoints}
        words = [f"endpoint {address} {how}" for address, how in _hows(there, here) if how != "changed"]
        words += [
            f"endpoint {address}: {fields}"
            for address in here
            if address in there and (fields := _fields(there[address], here[address]))
        ]
        if not words and before[name].endpoints != after[name].endpoints:
            words.append("the order of the endpoints")
        fields = _fields(before[name], after[name])
        if words or fields:
            yield Change("cluster", name, how, ", ".join([*words, *([fields] if fields else [])]))


def _settings(old: Config, new: Config) -> Iterator[Change]:
    for field in msgspec.structs.fields(Config):
        was, now = getattr(old, field.name), getattr(new, field.name)
        if field.name in _SHOWN_BY_ITSELF or was == now:
            continue
        inner = isinstance(was, msgspec.Struct) and isinstance(now, msgspec.Struct)
        yield Change("setting", field.name, "changed", _fields(was, now) if inner else _words(was, now))


def _hows(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, How]]:
    """Each key of either: removed ones first, then in the new order."""
    for key in before:
        if key not in after:
            yield key, "removed"
    for key in after:
        yield key, "changed" if key in before else "added"


def _fields(old: msgspec.Struct, new: msgspec.Struct) -> str:
    """The fields that differ, apart from those that are told by themselves."""
    words = []
    for field in msgspec.structs.fields(type(new)):
        was, now = getattr(old, field.name), getattr(new, field.name)
        if was != now and field.name not in _SHOWN_BY_ITSELF:
            words.append(f"{field.name} {_words(was, now)}")
    return ", ".join(words)


def _words(was: Any, now: Any) -> str:
    return f"{_text(was)} -> {_text(now)}"


def _text(value: Any) -> str:
    plain = meaning(value)
    if plain is None:
        return "none"
    return plain if isinstance(plain, str) else msgspec.json.encode(plain).decode()
