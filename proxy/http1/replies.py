"""The responses the proxy makes itself: small, complete, with a Content-Length.

They carry no Date: the layers have no wall clock, and RFC 9110 section 6.6.1 asks for one only of an
origin server that has.
"""

from __future__ import annotations

from typing import Final

REASONS: Final = {
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    408: "Request Timeout",
    413: "Content Too Large",
    414: "URI Too Long",
    417: "Expectation Failed",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
}


def reply(
    status: int, detail: str, *, head_only: bool, minor: int, keep: bool, text: str = "", fields: str = ""
) -> bytes:
    """A whole response. ``minor`` is the client's HTTP version, ``keep`` whether the connection goes on.

    ``text`` is the body where the usual one is not wanted, ``fields`` are further header lines with their ends.
    """
    reason = REASONS.get(status, "Refused")
    body = (text or f"{status} {reason}: {detail}\n").encode()
    connection = "Connection: close\r\n"
    if keep:
        connection = "" if minor else "Connection: keep-alive\r\n"
    head = (
        f"HTTP/1.1 {status} {reason}\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"{fields}{connection}\r\n"
    ).encode()
    return head if head_only else head + body
