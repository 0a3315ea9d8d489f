"""What the access log knows of a request, or of a tcp connection, that is under way.

Rules of compatibility: `proxy.state`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from proxy.http1.fields import LINES, REQUEST_ID, name_of, value_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from proxy.http1.head import RequestHead


class Record(msgspec.Struct, array_like=True):
    """Collected while it goes on. Texts are empty, and the status 0, as long as they are not known."""

    began: float = 0.0
    """Monotonic seconds at which the complete head was there; in a snapshot the seconds since then."""
    method: str = ""
    target: str = ""
    host: str = ""
    minor: int = -1
    """The client's HTTP version is 1.`minor`; -1 without HTTP."""
    request_id: str = ""
    headers: dict[str, str] = {}
    """The request's fields that the template asks for, by name in lower case; repeated ones joined by commas."""
    cluster: str = ""
    endpoint: str = ""
    status: int = 0
    received: int = 0
    """Bytes of the request body so far, as they came; for a relay all bytes of the client."""
    sent: int = 0
    """The same for the response."""


def of_request(head: RequestHead, names: Collection[str], now: float) -> Record:
    """A request that begins. `names` are the wanted fields in lower case."""
    start = head.start
    record = Record(
        now,
        start.method.decode("latin-1"),
        start.target.decode("latin-1"),
        head.host.decode("latin-1"),
        start.minor,
    )
    if head.request_id:
        line = next(line for line in head.lines[1:] if LINES[line] == REQUEST_ID)
        record.request_id = value_of(line).decode("latin-1")
    if names:
        found: dict[str, str] = {}
        for line in head.lines[1:]:
            name = name_of(line).decode("latin-1")
            if name in names:
                value = value_of(line).decode("latin-1")
                found[name] = f"{found[name]}, {value}" if name in found else value
        record.headers = found
    return record


def save_record(record: Record | None, now: float) -> Record | None:
    """As it travels."""
    return None if record is None else msgspec.structs.replace(record, began=now - record.began)


def load_record(saved: Record | None, now: float) -> Record | None:
    """The counterpart."""
    return None if saved is None else msgspec.structs.replace(saved, began=now - saved.began)
