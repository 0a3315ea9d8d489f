"""Chunked bodies alone: framing, phases, limits, and independence of how the stream is cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.http1.body import MAX_EXTENSIONS, MAX_SIZE_LINE, Chunks, Phase
from proxy.http1.state import load_chunks, save_chunks
from tests.proxy.http1.cases import BAD_CHUNKS, Bad

LIMITS = (32768, 100)


def read(pieces: list[bytes], *, bare: bool = False) -> tuple[bytes, Chunks]:
    chunks = Chunks()
    out = b""
    for piece in pieces:
        assert chunks.broken is None
        assert not chunks.done
        out += chunks.feed(piece, LIMITS, bare=bare)
    return out, chunks


@pytest.mark.parametrize(
    ("stream", "framed", "bare"),
    [
        (b"0\r\n\r\n", b"0\r\n\r\n", b""),
        (b"5\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"5\r\n\r\n\r\n\0\r\n0\r\n\r\n", b"5\r\n\r\n\r\n\0\r\n0\r\n\r\n", b"\r\n\r\n\0"),
        (b"A\r\n0123456789\r\n000\r\n\r\n", b"A\r\n0123456789\r\n000\r\n\r\n", b"0123456789"),
        (b'1;x ;y="\\"" ; z\r\na\r\n0;q\r\n\r\n'.replace(b" ;", b";"), b"1\r\na\r\n0\r\n\r\n", b"a"),
        (b"1\r\na\r\n0\r\nA: 1\r\nKeep-Alive: 1\r\nB:\r\n\r\n", b"1\r\na\r\n0\r\nA: 1\r\nB:\r\n\r\n", b"a"),
        (b"0\r\nConnection: x\r\n\r\n", b"0\r\n\r\n", b""),
    ],
)
def test_chunks_are_forwarded(stream: bytes, framed: bytes, bare: bytes) -> None:
    singly = [stream[n : n + 1] for n in range(len(stream))]
    for pieces in ([stream], singly):
        assert read(pieces)[0] == framed
        out, chunks = read(pieces, bare=True)
        assert out == bare
        assert chunks.done
        assert chunks.size == len(bare)
        assert chunks.rest == b""
    assert read([stream + b"GET /"])[1].rest == b"GET /"


@pytest.mark.parametrize("case", BAD_CHUNKS, ids=lambda case: case.name)
def test_bad_chunks_are_refused_however_cut(case: Bad) -> None:
    body = case.request.partition(b"\r\n\r\n")[2]
    outputs = set()
    for size in (1, 2, 3, 7, len(body)) if len(body) < 2000 else (1000, len(body)):
        chunks = Chunks()
        out = b""
        for start in range(0, len(body), size):
            out += chunks.feed(body[start : start + size], LIMITS)
            if chunks.broken is not None:
                break
        assert chunks.broken is not None
        assert chunks.broken.status == case.status
        outputs.add(out)
    assert len(outputs) == 1, "what was forwarded before depends on the cut"


def test_phases() -> None:
    chunks = Chunks()
    for piece, phase in (
        (b"3", Phase.SIZE),
        (b"\r\n", Phase.DATA),
        (b"ab", Phase.DATA),
        (b"c", Phase.CRLF),
        (b"\r", Phase.CRLF),
        (b"\n", Phase.SIZE),
        (b"0\r\n", Phase.TRAILER),
        (b"A: b\r\n", Phase.TRAILER),
        (b"\r\n", Phase.END),
    ):
        chunks.feed(piece, LIMITS)
        assert chunks.phase is phase


def test_what_is_kept_is_bounded() -> None:
    chunks = Chunks()
    chunks.feed(b"0" * (MAX_SIZE_LINE + 1), LIMITS)
    assert len(chunks.partial) <= MAX_SIZE_LINE + 1
    chunks = Chunks()
    chunks.feed(b"0\r\n" + b"A: b\r\n" * 10**5, LIMITS)
    assert chunks.broken is not None
    assert chunks.partial == b""


def test_extensions_are_paid_for_once() -> None:
    chunks = Chunks()
    line = b"1;" + b"x" * 500 + b"\r\na\r\n"
    for _ in range(MAX_EXTENSIONS // 501):
        chunks.feed(line, LIMITS)
        assert chunks.broken is None
    chunks.feed(line, LIMITS)
    assert chunks.broken is not None


BODIES = st.lists(st.binary(min_size=1, max_size=40), max_size=6).map(
    lambda parts: b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\nA: b\r\n\r\n"
)


@given(body=BODIES, cuts=st.lists(st.integers(0, 300), max_size=8), moved=st.booleans())
def test_any_cut_gives_the_same(body: bytes, cuts: list[int], moved: bool) -> None:
    at = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    chunks: Chunks | None = Chunks()
    out = b""
    for start, end in itertools.pairwise(at):
        assert chunks is not None
        if start < end:
            out += chunks.feed(body[start:end], LIMITS)
        if moved and not chunks.done:
            chunks = load_chunks(save_chunks(chunks))
    assert out == body
