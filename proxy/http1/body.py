"""Chunked bodies (RFC 9112 section 7.1), cut out of the byte stream.

    chunked-body = *chunk last-chunk *( field-line CRLF ) CRLF
    chunk        = 1*HEXDIG [ chunk-ext ] CRLF chunk-data CRLF
    last-chunk   = 1*"0" [ chunk-ext ] CRLF

    phase    waits for                      then
    SIZE     a size line                    DATA, or TRAILER after a size of 0
    DATA     `left` bytes of data           CRLF
    CRLF     the CRLF after the data        SIZE
    TRAILER  the lines up to the empty one  END
    END      nothing: what follows belongs to the next message

`Chunks.feed` checks everything and gives back what goes on to the other side: the same chunks in the same framing,
without extensions and without trailer fields that concern one hop; or the bare data for a peer that
speaks HTTP/1.0. The output depends on the stream alone, never on how it was cut. What is kept between two calls is an
unfinished line or an unfinished trailer section, both bounded.

A body with a Content-Length needs no more than a number, which the sessions count down.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Final

from proxy.http1 import fields
from proxy.http1.errors import BadMessage
from proxy.http1.fields import CONTENT_LENGTH, HOST, LINES, PASS, TRANSFER_ENCODING, Memo

MAX_SIZE_LINE: Final = 512
MAX_EXTENSIONS: Final = 16384
"""Bytes of chunk extensions in one body: they are read and thrown away, at this expense and no more."""

_WORD: Final = rb'(?:"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"|' + fields.TOKEN + rb")"
_EXTENSION: Final = rb"[\t ]*;[\t ]*" + fields.TOKEN + rb"(?:[\t ]*=[\t ]*" + _WORD + rb")?"
# 15 digits hold any length that Content-Length may state; more are an attempt to overflow somebody.
_PLAIN_SIZE: Final = re.compile(rb"[0-9A-Fa-f]{1,15}")
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})((?:" + _EXTENSION + rb")*)")


def _plain_size(line: bytes) -> int:
    """The size in a line without extensions; 0 for anything else, and for the last chunk."""
    return int(line, 16) if _PLAIN_SIZE.fullmatch(line) else 0


SIZES: Final = Memo(_plain_size)


class Phase(IntEnum):
    """Where in a chunked body the stream is."""

    SIZE = 0
    DATA = 1
    CRLF = 2
    TRAILER = 3
    END = 4


# CPython 3.11 looks a member up in its enum at every access: 50 ns.
_SIZE_LINE, _DATA, _CRLF = Phase.SIZE, Phase.DATA, Phase.CRLF


class Chunks:
    """One chunked body under way. Five plain fields are all its state: ``phase`` to ``size``.

    ``size`` is the number of data bytes announced so far: the sessions compare it to the limit.
    ``rest`` is, once `feed` reached END, what followed the body.
    ``broken`` is why the body is not taken, once that is known; what was returned before stands.
    """

    __slots__ = ("broken", "extensions", "left", "partial", "phase", "rest", "size", "trailer")

    def __init__(self) -> None:
        self.phase = Phase.SIZE
        self.left = 0
        self.partial = b""
        self.extensions = 0
        self.size = 0
        self.rest = b""
        self.trailer = b""
        """The trailer section, once END is reached and if it was not asked for in its framing. Derived."""
        self.broken: BadMessage | None = None

    @property
    def done(self) -> bool:
        """The body is complete."""
        return self.phase is Phase.END

    def ahead(self) -> int:
        """How many of the next bytes are data of a chunk, less one: then `left` says all that is known of them."""
        return self.left - 1 if self.phase is Phase.DATA else 0

    def feed(self, data: bytes, limits: tuple[int, int], *, bare: bool = False) -> bytes:
        """Take the next bytes of the stream; returns those to forward (``bare``: without framing).

        ``limits`` are the most bytes and the most lines of a trailer section. The caller looks at `broken` and `done`
        afterwards.
        """
        if self.partial:
            data = self.partial + data
            self.partial = b""
        out: list[bytes] = []
        try:
            position = self._cut(data, out, limits, bare)
        except BadMessage as why:
            self.broken = why
        else:
            if self.phase is Phase.END:
                self.rest = data[position:]
            else:
                self.partial = data[position:]
        return out[0] if len(out) == 1 else b"".join(out)

    def _cut(self, data: bytes, out: list[bytes], limits: tuple[int, int], bare: bool) -> int:
        """Append what is complete to ``out``; returns the position of what is not."""
        position = 0
        while position < len(data):
            end = position if bare else self._pass_over(data, position)
            if end > position:
                out.append(data[position:end])
                position = end
            elif self.phase is Phase.DATA:
                taken = data[position : position + self.left]
                out.append(taken)
                position += len(taken)
                self.left -= len(taken)
                if not self.left:
                    self.phase = Phase.CRLF
            elif self.phase is Phase.SIZE:
                end = _line_end(data, position, MAX_SIZE_LINE)
                if end < 0:
                    break
                line = self._begin_chunk(data[position:end])
                position = end + 2
                if not bare:
                    out.append(line)
            elif self.phase is Phase.CRLF:
                if data[position : position + 2] != b"\r\n":
                    if data[position:] == b"\r":
                        break
                    raise BadMessage(400, "no CRLF after a chunk")
                position += 2
                self.phase = Phase.SIZE
                if not bare:
                    out.append(b"\r\n")
            elif self.phase is Phase.TRAILER:
                end = _trailer_end(data, position, limits[0])
                if end < 0:
                    break
                trailer = _checked_trailer(data[position:end], limits[1])
                position = end
                self.phase = Phase.END
                if bare:
                    self.trailer = trailer
                else:
                    out.append(trailer)
            else:
                break
        return position

    def _pass_over(self, data: bytes, position: int) -> int:
        """The position after what goes on as it is: data, and lines without anything to be taken out or refused.

        One slice for all of it; if that is all that came, it is not even copied.
        """
        size, phase, left = len(data), self.phase, self.left
        while position < size:
            if phase is _DATA:
                if left > size - position:
                    left -= size - position
                    position = size
                else:
                    position += left
                    left = 0
                    phase = _CRLF
            elif phase is _CRLF:
                if data[position : position + 2] != b"\r\n":
                    break
                position += 2
                phase = _SIZE_LINE
            elif phase is _SIZE_LINE:
                end = data.find(b"\r\n", position, position + 17)
                left = SIZES[data[position:end]] if end > 0 else 0
                if not left:
                    break
                self.size += left
                position = end + 2
                phase = _DATA
            else:
                break
        self.phase, self.left = phase, left
        return position

    def _begin_chunk(self, line: bytes) -> bytes:
        match = _SIZE.fullmatch(line)
        if match is None:
            raise BadMessage(400, "malformed chunk size")
        digits, extension = match.groups()
        self.extensions += len(extension)
        if self.extensions > MAX_EXTENSIONS:
            raise BadMessage(400, "too many chunk extensions")
        self.left = int(digits, 16)
        self.size += self.left
        self.phase = Phase.DATA if self.left else Phase.TRAILER
        return digits + b"\r\n"


def _line_end(data: bytes, start: int, limit: int) -> int:
    end = data.find(b"\r\n", start)
    if (end if end >= 0 else len(data) - 1) - start > limit:
        raise BadMessage(400, "the chunk size line is too long")
    if end < 0 and b"\n" in data[start:]:
        raise BadMessage(400, "malformed line end")
    return end


def _trailer_end(data: bytes, start: int, limit: int) -> int:
    """The position after the empty line that ends the trailer section, or -1."""
    if data.startswith(b"\r\n", start):
        return start + 2
    end = data.find(b"\r\n\r\n", start)
    if (end if end >= 0 else len(data) - 3) - start > limit:
        raise BadMessage(431, "the trailer section is too long")
    return end + 4 if end >= 0 else -1


def _checked_trailer(section: bytes, max_lines: int) -> bytes:
    """A complete trailer section, its empty line included, less what concerns one hop only."""
    if section == b"\r\n":
        return section
    lines = section[:-4].split(b"\r\n")
    if len(lines) > max_lines:
        raise BadMessage(431, "too many trailer lines")
    marks = [LINES[line] for line in lines]
    if any(mark in {HOST, CONTENT_LENGTH, TRANSFER_ENCODING} for mark in marks):
        raise BadMessage(400, "a trailer field that may only stand in a head")
    kept = [line for line, mark in zip(lines, marks, strict=True) if mark == PASS]
    return b"".join([line + b"\r\n" for line in kept]) + b"\r\n"
