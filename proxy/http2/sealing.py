"""Fields that are never indexed, on their way through text, which knows no such thing (RFC 7541 section 6.2.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.http2.hpack import Never

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    Field = tuple[bytes, bytes]


def seal(fields: list[Field], sealed: Collection[bytes]) -> list[Field]:
    """Those of these names become never indexed (RFC 7541 section 6.2.3)."""
    return [Never(*field) if field[0] in sealed else field for field in fields] if sealed else fields


def sealed_of(fields: Iterable[Field]) -> tuple[bytes, ...]:
    """The names of those that are never indexed."""
    return tuple([field[0] for field in fields if field.__class__ is not tuple])
