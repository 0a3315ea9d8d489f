r"""How a line of the access log looks: a text with fields in braces, compiled once.

As ``text`` the template is filled in: a value that is not there is ``-``, and what could be mistaken for something
else (quotes, backslashes, control characters, all that is not ASCII) is written ``\xHH``, so a line is always one
line. As ``json`` each line is an object with the fields of the template in their order; whatever stands between them
has no meaning, values that are not there are null.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from proxy.accesslog.record import OF_HTTP2, Record


class End(NamedTuple):
    """What is known of an exchange only at its end, and where it was."""

    listener: str
    protocol: str
    client: str
    outcome: str
    began: float
    """Seconds since 1970."""
    duration: float
    """Seconds."""
    tls: dict[str, Any] | None = None
    """What `proxy.tls.session.Session.describe` tells of the client's; None: plaintext, or not asked for."""


Value = str | int | float | None
Get = Callable[[Record, End], Value]


def _time(began: float) -> str:
    milliseconds = int(began * 1000 + 0.5)
    return f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


@lru_cache(maxsize=64)  # most lines of a second share it, and formatting takes longer than all the rest of a line
def _second(began: int) -> str:
    return datetime.fromtimestamp(began, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _tls(end: End, name: str) -> str | None:
    value = None if end.tls is None else end.tls.get(name)
    return ",".join(value) if isinstance(value, tuple) else value


def _status(record: Record) -> int | None:
    if record.kind:  # of a call: 0 is bolt's success
        return record.status if record.status >= 0 else None
    return record.status or None


def _version(record: Record) -> str | None:
    if record.minor == OF_HTTP2:
        return "HTTP/2.0"  # as nginx writes it
    return f"HTTP/1.{record.minor}" if record.minor >= 0 else None


FIELDS: Final[dict[str, tuple[Get, str]]] = {
    "time": (lambda _, end: _time(end.began), "When it began, UTC: `2026-01-31T12:00:00.000Z`."),
    "listener": (lambda _, end: end.listener, "The name of the listener."),
    "protocol": (lambda _, end: end.protocol, "The protocol of the listener."),
    "client": (lambda _, end: end.client, "The host of the client; `unix` on a unix socket."),
    "method": (lambda record, _: record.method or None, "The method; of bolt `sofa_head_method_name`."),
    "target": (lambda record, _: record.target or None, "The path with its query, as it came."),
    "host": (lambda record, _: record.host or None, "The host that was asked for, with its port if that was said."),
    "version": (lambda record, _: _version(record), "The client's version."),
    "request_id": (
        lambda record, _: record.request_id or None,
        "`X-Request-Id`: the client's, else the proxy's; of bolt the trace id.",
    ),
    "status": (
        lambda record, _: _status(record),
        "The status of the response, of bolt 0 for success, of dubbo 20; none if there was none.",
    ),
    "received": (
        lambda record, _: record.received,
        "Bytes of the request body; tcp, amqp, tunnels: all of the client's.",
    ),
    "sent": (lambda record, _: record.sent, "Bytes of the response body; tcp, amqp, tunnels: all of the upstream's."),
    "duration": (lambda _, end: round(end.duration * 1000, 3), "From the complete head to the end, milliseconds."),
    "cluster": (lambda record, _: record.cluster or None, "Where it went."),
    "endpoint": (lambda record, _: record.endpoint or None, "The upstream that answered, or was asked last."),
    "kind": (
        lambda record, _: record.kind or None,
        "Bolt and dubbo: `call`, `oneway`, or `push` where the server asks.",
    ),
    "service": (
        lambda record, _: record.service or None,
        "Bolt: the service. Dubbo: the interface, with its version if there is one.",
    ),
    "tls_version": (lambda _, end: _tls(end, "version"), "The client's TLS, `1.2` or `1.3`; plaintext has none."),
    "tls_cipher": (lambda _, end: _tls(end, "cipher"), "Its cipher suite, by OpenSSL's name."),
    "tls_sni": (lambda _, end: _tls(end, "sni"), "The server name that the client asked for."),
    "tls_peer": (lambda _, end: _tls(end, "peer"), "The names in the client's verified certificate, `URI:...`."),
    "outcome": (lambda _, end: end.outcome, "How it ended, see below."),
}
"""Name -> how to get it, and what it is. `header.NAME` is understood as well."""

HEADER: Final = "header."
USUAL: Final = {
    "http1": (
        '{time} {listener} {client} "{method} {target} {version}" {status} {received} {sent} {duration} '
        "{cluster} {endpoint} {outcome} {request_id}"
    ),
    "tcp": "{time} {listener} {client} {received} {sent} {duration} {cluster} {endpoint} {outcome}",
    "amqp": "{time} {listener} {client} {received} {sent} {duration} {cluster} {endpoint} {outcome}",
    "bolt": (
        "{time} {listener} {client} {kind} {service} {method} {status} {received} {sent} {duration} "
        "{cluster} {endpoint} {outcome} {request_id}"
    ),
    "dubbo": (
        "{time} {listener} {client} {kind} {service} {method} {status} {received} {sent} {duration} "
        "{cluster} {endpoint} {outcome}"
    ),
}
"""Protocol -> the template where none is configured."""

_FIELD: Final = re.compile(r"\{([^{}]*)\}")
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_UNSAFE: Final = re.compile(r"[^ !#-\[\]-~]")
_encode = msgspec.json.Encoder().encode


class Unknown(ValueError):
    """A field that there is not; ``args[0]`` is what stands in the braces."""


def names_of(template: str) -> list[str]:
    """The fields of a template in their order. Raises `Unknown`, or `ValueError` for a brace without its other one."""
    names = _FIELD.findall(template)
    rest = _FIELD.sub("", template)
    if "{" in rest or "}" in rest:
        raise ValueError("a brace without its other one")
    for name in names:
        header = name.removeprefix(HEADER) if name.startswith(HEADER) else None
        if name not in FIELDS and (header is None or not _NAME.fullmatch(header)):
            raise Unknown(name)
    return names


class Template:
    """A compiled template."""

    __slots__ = ("_format", "_gets", "_names", "asks_tls", "headers")

    def __init__(self, template: str, *, json: bool) -> None:
        """Takes what `names_of` takes."""
        names = names_of(template)
        self.headers = frozenset(name.removeprefix(HEADER) for name in names if name.startswith(HEADER))
        """The request's fields that a record must keep."""
        self.asks_tls = any(name.startswith("tls_") for name in names)
        """What is known of the client's TLS is wanted."""
        self._gets = tuple(_get(name) for name in names)
        self._names = names if json else None
        self._format = "%s".join(part.replace("%", "%%") for part in _FIELD.split(template)[::2]) + "\n"

    def line(self, record: Record, end: End) -> bytes:
        """The whole line with its end."""
        values = [get(record, end) for get in self._gets]
        if self._names is not None:
            return _encode(dict(zip(self._names, values, strict=True))) + b"\n"
        return (self._format % tuple([_plain(value) for value in values])).encode("ascii", "backslashreplace")


def _get(name: str) -> Get:
    if name.startswith(HEADER):
        header = name.removeprefix(HEADER)
        return lambda record, _: record.headers.get(header)
    return FIELDS[name][0]


def _plain(value: Value) -> str:
    if value is None:
        return "-"
    if not isinstance(value, str):
        return str(value)
    return value if _UNSAFE.search(value) is None else _UNSAFE.sub(_escaped, value)


def _escaped(match: re.Match[str]) -> str:
    return f"\\x{ord(match[0]):02X}"


def rows() -> list[tuple[str, str]]:
    """Every field with what it is, for the reference."""
    described: list[tuple[str, Any]] = [(name, about) for name, (_, about) in FIELDS.items()]
    return [*described, ("header.NAME", "A field of the request, NAME in lower case: `{header.user-agent}`.")]
