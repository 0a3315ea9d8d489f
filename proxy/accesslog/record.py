"""What the access log knows of a request, a call, or a tcp connection, that is under way.

Rules of compatibility: `proxy.state`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from proxy.http1.fields import LINES, REQUEST_ID, name_of, value_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from proxy.http1.message import RequestHead

OF_HTTP2: Final = 10
"""In place of a minor version of HTTP/1."""


class Record(msgspec.Struct, array_like=True):
    """Collected while it goes on. Texts are empty, and the status 0, as long as they are not known."""

    began: float = 0.0
    """Monotonic seconds at which the complete head was there; in a snapshot the seconds since then."""
    method: str = ""
    target: str = ""
    host: str = ""
    minor: int = -1
    """The client's HTTP version is 1.`minor`, or 2 if this is `OF_HTTP2`; -1 without HTTP."""
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
    kind: str = ""
    """``call``, ``oneway`` or ``push`` (a server asks its client); empty where there are no calls (bolt, dubbo)."""
    service: str = ""


def of_request(head: RequestHead, names: Collection[str], now: float) -> Record:
    """A request that begins. `names` are the wanted fields in lower case."""
    record = Record(
        now,
        head.method.decode("latin-1"),
        head.target.decode("latin-1"),
        head.host.decode("latin-1"),
        head.minor,
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


def of_call(headers: Mapping[bytes, bytes], kind: str, size: int, names: Collection[str], now: float) -> Record:
    """A bolt call of ``size`` content bytes that begins. `names` are the wanted headers in lower case."""
    texts = {name.decode("latin-1"): value.decode("utf-8", "replace") for name, value in headers.items()}
    return Record(
        now,
        texts.get("sofa_head_method_name", ""),
        request_id=texts.get("rpc_trace_context.sofatraceid", ""),
        headers={name: texts[name] for name in names if name in texts},
        status=-1,
        received=size,
        kind=kind,
        service=texts.get("service") or texts.get("sofa_head_target_service", ""),
    )


def of_invocation(interface: bytes, version: bytes, method: bytes, kind: str, size: int, now: float) -> Record:
    """A Dubbo call of ``size`` bytes that begins. Its service is the interface, and the version where it has one."""
    service = interface if version in {b"", b"0.0.0"} else b"%s:%s" % (interface, version)
    return Record(
        now,
        method.decode("utf-8", "replace"),
        status=-1,
        received=size,
        kind=kind,
        service=service.decode("utf-8", "replace"),
    )


def save_record(record: Record | None, now: float) -> Record | None:
    """As it travels."""
    return None if record is None else msgspec.structs.replace(record, began=now - record.began)


def load_record(saved: Record | None, now: float) -> Record | None:
    """The counterpart."""
    return None if saved is None else msgspec.structs.replace(saved, began=now - saved.began)
