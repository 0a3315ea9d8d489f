"""HPACK, the compression of header lists (RFC 7541): a decoder and an encoder, each with a table that is a value.

    1xxxxxxx   a field of the tables                  index, 7 bits
    01xxxxxx   a literal that enters the table        index of its name, 6 bits, or 0 and the name
    001xxxxx   another size of the table              5 bits
    0001xxxx   a literal that must never enter one    4 bits, or 0 and the name
    0000xxxx   a literal that does not enter it       4 bits, or 0 and the name

An integer that fills its bits goes on in bytes of 7 bits, the lowest first. A string is a bit for Huffman, its length
in 7 bits, and its bytes. The index counts the static table from 1, then the dynamic one from 62, the newest first.

A field is a pair of name and value. One that came as never to be indexed is a `Never`, a pair as well: whoever hands
it on as it is keeps that promise (section 7.1.3).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Self

import msgspec

from proxy.http2.errors import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, Broken, Oversized
from proxy.http2.huffman import QUICK, decode
from proxy.http2.huffman_code import BadCode
from proxy.http2.literals import (
    ENTERS,
    FIXED,
    NAMES,
    NEVER,
    NEVER_ENTERS,
    PLAIN,
    UNINDEXED,
    integer,
    literal,
    raw,
    secret,
    string,
)
from proxy.http2.static_table import STATIC
from proxy.octets import cut

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Field = tuple[bytes, bytes]

TABLE: Final = 4096
"""Bytes of a table at first, and the most that ours take whatever a peer permits."""
ENTRY: Final = 32
"""What a field counts beyond its name and value (section 4.1)."""
GRACE: Final = 4
"""A list of so many times its limit ends the connection; a shorter one only its stream."""
MEMO: Final = 1024
"""Strings that are remembered decoded, process-wide; each of at most `MEMO_LENGTH` bytes."""
MEMO_LENGTH: Final = 128
BLOCKS: Final = 32
"""Blocks that an encoder remembers, for keys of at most `BLOCK_KEY` bytes."""
BLOCK_KEY: Final = 512
SECRETS: Final = 4
"""The same for strings that are never indexed: in each connection, so that none outlives it."""
SECRET_LENGTH: Final = 4096

_STATIC: Final = tuple((field, len(field[0]) + len(field[1]) + ENTRY) for field in STATIC)


class Never(Field):
    """A field that came as never to be indexed."""

    __slots__ = ()

    def __new__(cls, name: bytes, value: bytes) -> Self:
        """A pair."""
        return super().__new__(cls, (name, value))


class TableState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A dynamic table. Rules of compatibility: `proxy.state`."""

    fields: tuple[tuple[bytes, bytes], ...] = ()
    """The newest first."""
    size: int = TABLE
    """The most it may hold, in bytes as section 4.1 counts them."""
    limit: int = TABLE
    """The most that `size` may become."""
    pending: tuple[int, ...] = ()
    """Of an encoder: sizes that the peer has to be told. Of a decoder: not empty if it has to tell one."""


_strings: dict[bytes, bytes] = {}


def _plain(coded: bytes, memo: dict[bytes, bytes], most: int, longest: int) -> bytes:
    """A string without Huffman. They repeat, and most are short: a lookup is a twentieth of decoding in Python."""
    known = None if QUICK else memo.get(coded)
    if known is not None:
        return known
    try:
        text = decode(coded)
    except BadCode as error:
        raise Broken(COMPRESSION_ERROR, str(error)) from None
    if not QUICK and len(coded) <= longest:
        if len(memo) >= most:
            memo.clear()
        memo[coded] = text
    return text


class Decoder:
    """Reads header blocks. A breach raises `Broken`: both tables are out of step then, and the connection is lost."""

    __slots__ = ("_secrets", "entries", "filled", "inserted", "limit", "must_tell", "size")

    def __init__(self) -> None:
        self.entries: deque[tuple[Field, int]] = deque()
        """Fields and what they count, the newest first."""
        self.filled = 0
        self.size = TABLE
        self.limit = TABLE
        self.must_tell = False
        """The limit fell below the size: the next block has to begin with another size (section 4.2)."""
        self.inserted = 0
        """Counts what alters the table. For those who remember blocks; never saved."""
        self._secrets: dict[bytes, bytes] = {}

    def permit(self, size: int) -> None:
        """The peer knows that the table may have so many bytes."""
        self.limit = size
        self.must_tell = self.size > size
        self.inserted += 1

    def decode(self, block: bytes, most: int) -> list[Field]:
        """The fields. Raises `Broken`, or `Oversized` if they count more than `most` bytes as section 4.1 does.

        Fields beyond `most` are not kept, and the list ends the connection at `GRACE` times as much: what a block
        unfolds to is bounded whatever it refers to.
        """
        fields: list[Field] = []
        entries = self.entries
        at = total = 0
        end = len(block)
        if self.must_tell and not (block and block[0] & 0xE0 == 0x20):
            raise Broken(COMPRESSION_ERROR, "the size of the table was not reduced")
        try:
            while at < end:
                octet = block[at]
                at += 1
                if octet & 0x80:
                    index = octet & 0x7F
                    if index == 0x7F:
                        index, at = _integer(block, at, 0x7F)
                    field, size = _STATIC[index] if index < 62 else entries[index - 62]
                    if not index:
                        raise Broken(COMPRESSION_ERROR, "there is no index 0")
                elif octet & 0xE0 == 0x20:
                    if fields or total:
                        raise Broken(COMPRESSION_ERROR, "the size of the table changes behind a field")
                    at = self._resize(block, at, octet)
                    continue
                else:
                    mask = 0x3F if octet & 0x40 else 0x0F
                    index = octet & mask
                    if not index or index == mask:
                        name, at = self._name(block, at, index)
                    else:
                        name = STATIC[index][0] if index < 62 else entries[index - 62][0][0]
                    length = block[at]
                    at += 1
                    if octet & 0xF0 == 0x10:
                        value, at = self._string(block, at, length, True)
                        field = Never(name, value)
                    elif length & 0x7F == 0x7F:
                        value, at = self._string(block, at, length, False)
                        field = (name, value)
                    else:  # as in `_string`: the common case, a short value
                        start = at
                        at += length & 0x7F
                        if at > end:
                            raise Broken(COMPRESSION_ERROR, "a string is cut off")
                        value = cut(block, start, at)
                        field = (name, _plain(value, _strings, MEMO, MEMO_LENGTH) if length & 0x80 else value)
                    size = len(name) + len(field[1]) + ENTRY
                    if octet & 0x40:
                        self._insert(field, size)
                total += size
                if total <= most:
                    fields.append(field)
                elif total > most * GRACE:
                    raise Broken(ENHANCE_YOUR_CALM, "the header list is far over the limit")
        except IndexError:
            raise Broken(COMPRESSION_ERROR, "the block is cut off, or an index out of range") from None
        if total > most:
            raise Oversized
        return fields

    def _resize(self, block: bytes, at: int, octet: int) -> int:
        size = octet & 0x1F
        if size == 0x1F:
            size, at = _integer(block, at, 0x1F)
        if size > self.limit:
            raise Broken(COMPRESSION_ERROR, "a table of more bytes than permitted")
        self.size = size
        self.must_tell = False
        self.inserted += 1
        self._evict(size)
        return at

    def _name(self, block: bytes, at: int, index: int) -> tuple[bytes, int]:
        """The name of a literal whose index is 0, or does not fit into its bits."""
        if not index:
            return self._string(block, at + 1, block[at], False)
        index, at = _integer(block, at, index)
        return (STATIC[index][0] if index < 62 else self.entries[index - 62][0][0]), at

    def _string(self, block: bytes, at: int, octet: int, never: bool) -> tuple[bytes, int]:
        """A string, behind its first byte."""
        length = octet & 0x7F
        if length == 0x7F:
            length, at = _integer(block, at, 0x7F)
        end = at + length
        if end > len(block):
            raise Broken(COMPRESSION_ERROR, "a string is cut off")
        if octet & 0x80:
            if never:
                return _plain(cut(block, at, end), self._secrets, SECRETS, SECRET_LENGTH), end
            return _plain(cut(block, at, end), _strings, MEMO, MEMO_LENGTH), end
        return cut(block, at, end), end

    def _insert(self, field: Field, size: int) -> None:
        self.inserted += 1
        if self.filled + size > self.size:
            self._evict(self.size - size)
            if size > self.size:  # empties the table, and that is all (section 4.4)
                return
        self.entries.appendleft((field, size))
        self.filled += size

    def _evict(self, most: int) -> None:
        entries = self.entries
        while entries and self.filled > most:
            self.filled -= entries.pop()[1]

    def save(self) -> TableState:
        """The value."""
        fields = tuple([field for field, _ in self.entries])
        return TableState(fields, self.size, self.limit, (0,) if self.must_tell else ())

    def load(self, state: TableState) -> None:
        """The counterpart."""
        self.entries = deque((field, len(field[0]) + len(field[1]) + ENTRY) for field in state.fields)
        self.filled = sum(size for _, size in self.entries)
        self.size, self.limit, self.must_tell = state.size, state.limit, bool(state.pending)
        self.inserted += 1


def _integer(block: bytes, at: int, value: int) -> tuple[int, int]:
    """The rest of an integer, of at most 4 bytes: 2**28 is beyond everything here (section 5.1)."""
    shift = 0
    while True:
        octet = block[at]
        at += 1
        value += (octet & 0x7F) << shift
        if octet < 0x80:
            return value, at
        shift += 7
        if shift > 21:
            raise Broken(COMPRESSION_ERROR, "an integer is too long")


class Encoder:
    """Writes header blocks. What enters the table is decided by the field alone, see `proxy.http2.literals`."""

    __slots__ = ("blocks", "entries", "filled", "inserted", "known", "lasting", "limit", "names", "pending", "size")

    def __init__(self) -> None:
        self.entries: deque[tuple[Field, int]] = deque()
        """Fields and what they count, the newest first."""
        self.filled = 0
        self.size = TABLE
        self.limit = TABLE
        self.pending: tuple[int, ...] = ()
        self.known: dict[Field, int] = {}
        """Of each field in the table its number, counted from the first one ever."""
        self.names: dict[bytes, int] = {}
        self.inserted = 0
        self.blocks: dict[bytes, bytes] = {}
        """What may be written again as it was, by the keys of `encode`: until the table changes. Derived."""
        self.lasting = True  # the block under way may be among them

    def permit(self, limit: int) -> None:
        """The peer's HEADER_TABLE_SIZE: the next block tells it the size that follows (section 4.2)."""
        size = min(limit, TABLE)
        if size != self.size:
            least = min(size, self.pending[0]) if self.pending else size
            self.pending = (least, size) if least < size else (size,)
            self.size = size
            self._evict(size)
            self.blocks.clear()
        self.limit = limit

    def encode(self, fields: Iterable[Field], key: bytes = b"") -> bytes:
        """The block. Names have to be in lower case.

        If `key` stands for these fields and no others, `blocks` has it under that key from then on, as long as it means
        the same, and if no field is a secret.
        """
        known = self.known
        self.lasting = not self.pending
        fixed = FIXED
        out = bytearray()
        for size in self.pending:
            out += integer(size, 5, 0x20)
        self.pending = ()
        for field in fields:
            if field.__class__ is tuple:
                number = known.get(field)
                if number is not None:
                    index = self.inserted - number + 62
                    if index < 0x7F:
                        out.append(0x80 | index)
                    else:
                        out += integer(index, 7, 0x80)
                    continue
                one = fixed.get(field)
                if one is not None:
                    out += one
                    continue
            out += self._literal(field)
        block = bytes(out)
        if key and self.lasting and len(key) <= BLOCK_KEY:
            if len(self.blocks) >= BLOCKS:
                self.blocks.clear()
            self.blocks[key] = block
        return block

    def _literal(self, field: Field) -> bytes:
        name, value = field
        if field.__class__ is not tuple or name in NEVER or secret(name, value):
            self.lasting = False
            return self._named(name, 4, NEVER_ENTERS) + string(value, False)
        if name in UNINDEXED:
            if name in NAMES:
                return literal(field)
            return self._named(name, 4, PLAIN) + raw(value)
        size = len(name) + len(value) + ENTRY
        if size > self.size // 2:  # one that puts out most others
            return self._named(name, 4, PLAIN) + string(value, True)
        out = self._named(name, 6, ENTERS) + string(value, True)
        if self.filled + size > self.size:
            self._evict(self.size - size)
        self.inserted += 1
        self.lasting = False
        self.blocks.clear()
        self.entries.appendleft((field, size))
        self.filled += size
        self.known[field] = self.names[name] = self.inserted
        return out

    def _named(self, name: bytes, bits: int, first: int) -> bytes:
        index = NAMES.get(name)
        if index is None:
            number = self.names.get(name)
            if number is None:
                return bytes((first,)) + string(name, True)
            index = self.inserted - number + 62
        return integer(index, bits, first)

    def _evict(self, most: int) -> None:
        entries = self.entries
        while entries and self.filled > most:
            number = self.inserted - len(entries) + 1
            field, size = entries.pop()
            self.filled -= size
            if self.known[field] == number:
                del self.known[field]
            if self.names[field[0]] == number:
                del self.names[field[0]]

    def save(self) -> TableState:
        """The value."""
        return TableState(tuple([field for field, _ in self.entries]), self.size, self.limit, self.pending)

    def load(self, state: TableState) -> None:
        """The counterpart."""
        self.fill(state.fields)
        self.size, self.limit, self.pending = state.size, state.limit, state.pending

    def fill(self, fields: Sequence[Field]) -> None:
        """Have exactly these fields in the table, the newest first."""
        self.entries = deque((field, len(field[0]) + len(field[1]) + ENTRY) for field in fields)
        self.filled = sum(size for _, size in self.entries)
        self.inserted = len(fields)
        self.blocks.clear()
        self.known = {field: len(fields) - at for at, field in reversed(list(enumerate(fields)))}
        self.names = {field[0]: len(fields) - at for at, field in reversed(list(enumerate(fields)))}
