"""Hessian 2.0 as far as it takes to find what stands behind values.

See http://hessian.caucho.com/doc/hessian-serialization.html. Values are skipped without being made. Nesting costs an
entry of a list, not a frame of the stack; how many values are looked at, and how deep they nest, is limited. Lengths of
texts count UTF-16 units, as Java does: a character of four bytes in UTF-8 counts as two.
"""

from __future__ import annotations

from struct import Struct
from struct import error as cut_off
from typing import Final

MAX_VALUES: Final = 100_000
"""Of one body: about 20 ms."""
MAX_DEPTH: Final = 1000
MAX_CLASSES: Final = 1000
MAX_FIELDS: Final = 1000
MAX_ENTRIES: Final = 1000
"""Of a map that is read."""

_U16: Final = Struct(">H")
_I32: Final = Struct(">i")
_CONTINUATION: Final = bytes(range(0x80, 0xC0))
_FOUR: Final = bytes(range(0xF0, 0xF8))
_Z: Final = 0x5A
_NULL: Final = 0x4E
_OPEN: Final = -1
"""So many values are left of a list or map that ends with Z."""


def _sizes() -> bytes:
    sizes = bytearray(256)  # 0: not of a fixed size, or nothing
    for first, last, size in (
        (0x38, 0x3F, 3),  # long
        (0x44, 0x44, 9),  # double
        (0x46, 0x46, 1),  # false
        (0x49, 0x49, 5),  # int
        (0x4A, 0x4A, 9),  # date
        (0x4B, 0x4B, 5),  # date
        (0x4C, 0x4C, 9),  # long
        (0x4E, 0x4E, 1),  # null
        (0x54, 0x54, 1),  # true
        (0x59, 0x59, 5),  # long
        (0x5B, 0x5C, 1),  # double
        (0x5D, 0x5D, 2),
        (0x5E, 0x5E, 3),
        (0x5F, 0x5F, 5),
        (0x80, 0xBF, 1),  # int
        (0xC0, 0xCF, 2),
        (0xD0, 0xD7, 3),
        (0xD8, 0xEF, 1),  # long
        (0xF0, 0xFF, 2),
    ):
        for tag in range(first, last + 1):
            sizes[tag] = size
    for tag in range(0x20, 0x30):  # binary
        sizes[tag] = 1 + tag - 0x20
    return bytes(sizes)


_SIZES: Final = _sizes()


class Reader:
    """Reads on in a body, from one value to the next. Every method raises `ValueError` for what is no Hessian."""

    __slots__ = ("_classes", "_left", "at", "body")

    def __init__(self, body: bytes, at: int = 0) -> None:
        self.body = body
        self.at = at
        """Where the next value begins."""
        self._classes: list[int] = []
        """The number of fields of each class that was defined."""
        self._left = MAX_VALUES

    @property
    def ended(self) -> bool:
        """Nothing is left."""
        return self.at >= len(self.body)

    def text(self) -> bytes:
        """The next value, a text or null, as it is encoded; null is empty."""
        body, at = self.body, self.at
        try:
            tag = body[at]
            if tag < 0x20:
                found = body[at + 1 : at + 1 + tag]
                if len(found) == tag and found.isascii():
                    self.at = at + 1 + tag
                    return found
            elif tag == _NULL:
                self.at = at + 1
                return b""
            return self._text()
        except (IndexError, cut_off) as cut:
            raise ValueError("it is cut") from cut

    def number(self) -> int:
        """The next value, a number of at most 32 bits."""
        try:
            return self._int()
        except (IndexError, cut_off) as cut:
            raise ValueError("it is cut") from cut

    def skip(self, count: int = 1) -> None:
        """So many values."""
        try:
            self._skip(count)
        except (IndexError, cut_off) as cut:
            raise ValueError("it is cut") from cut
        if self.at > len(self.body):
            raise ValueError("it is cut")

    def opens_map(self) -> bool:
        """Step into the map that comes next; False if there is null, or nothing more, instead of one."""
        if self.ended:
            return False
        tag = self.body[self.at]
        if tag == _NULL:
            self.at += 1
            return False
        if tag not in {0x48, 0x4D}:
            raise ValueError("there is no map")
        self.at += 1
        if tag == 0x4D:
            self.skip()  # its type, a text or the number of one
        return True

    def closes_map(self) -> bool:
        """Step out of the map, if it ends here."""
        if self.ended:
            raise ValueError("it is cut")
        if self.body[self.at] == _Z:
            self.at += 1
            return True
        return False

    def texts(self) -> dict[bytes, bytes]:
        """The map that comes next, as far as it is of texts; of a name that is repeated the last value counts."""
        found: dict[bytes, bytes] = {}
        if not self.opens_map():
            return found
        body, at = self.body, self.at
        try:
            for _ in range(MAX_ENTRIES + 1):
                # Nearly all are short and of ASCII: a fifth of the time that two calls of `text` take.
                first = body[at]
                if first == _Z:
                    self.at = at + 1
                    return found
                if first < 0x20:
                    middle = at + 1 + first
                    second = body[middle]
                    if second < 0x20:
                        begun = middle + 1
                        end = begun + second
                    else:
                        begun = middle + 2
                        end = begun + ((second - 0x30) << 8 | body[middle + 1]) if 0x30 <= second < 0x34 else 0
                    if begun <= end < len(body):
                        name, value = body[at + 1 : middle], body[begun:end]
                        if name.isascii() and value.isascii():
                            found[name] = value
                            at = end
                            continue
                self.at = at
                texts = [self.text_or_none(), self.text_or_none()]
                at = self.at
                if texts[0] is not None and texts[1] is not None:
                    found[texts[0]] = texts[1]
        except IndexError as cut:
            raise ValueError("it is cut") from cut
        raise ValueError("a map has too many entries")

    def text_or_none(self) -> bytes | None:
        """The next value; None if it is no text."""
        if self.is_text:
            return self.text()
        self.skip()
        return None

    @property
    def is_text(self) -> bool:
        """The next value is a text."""
        return not self.ended and _is_text(self.body[self.at])

    def _text(self) -> bytes:
        """A text of any length, in chunks."""
        body = self.body
        parts = []
        last = False
        while not last:
            self._left -= 1
            if self._left < 0:
                raise ValueError("it has too many values")
            tag = body[self.at]
            last = tag != 0x52
            if tag < 0x20:
                length = tag
                self.at += 1
            elif 0x30 <= tag < 0x34:
                length = (tag - 0x30) << 8 | body[self.at + 1]
                self.at += 2
            elif tag in {0x52, 0x53}:
                length = _U16.unpack_from(body, self.at + 1)[0]
                self.at += 3
            else:
                raise ValueError("there is no text")
            begun = self.at
            self._units(length)
            parts.append(body[begun : self.at])
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _units(self, length: int) -> None:
        """So many UTF-16 units of text in UTF-8."""
        body, at = self.body, self.at
        left = length
        while left > 0:
            piece = body[at : at + left]
            if not piece:
                raise ValueError("a text is cut")
            at += len(piece)
            if piece.isascii():
                left -= len(piece)
            else:
                left -= len(piece.translate(None, _CONTINUATION)) + len(piece) - len(piece.translate(None, _FOUR))
        if left < 0:
            raise ValueError("a character is cut")
        if length and body[at - 1] >= 0x80:  # the last character may go on
            lead = at - 1
            while body[lead] & 0xC0 == 0x80:
                lead -= 1
                if lead < self.at:
                    raise ValueError("a text is not UTF-8")
            first = body[lead]
            at = lead + (2 if first < 0xE0 else 3 if first < 0xF0 else 4)
            if at > len(body):
                raise ValueError("a text is cut")
        self.at = at

    def _int(self) -> int:
        body, at = self.body, self.at
        tag = body[at]
        if 0x80 <= tag < 0xC0:
            self.at = at + 1
            return tag - 0x90
        if 0xC0 <= tag < 0xD0:
            self.at = at + 2
            return ((tag - 0xC8) << 8) + body[at + 1]
        if 0xD0 <= tag < 0xD8:
            self.at = at + 3
            return ((tag - 0xD4) << 16) + (body[at + 1] << 8) + body[at + 2]
        if tag != 0x49:
            raise ValueError("there is no number")
        self.at = at + 5
        return int(_I32.unpack_from(body, at + 1)[0])

    def _count(self, limit: int = MAX_VALUES) -> int:
        count = self._int()
        if not 0 <= count <= limit:
            raise ValueError("a length is out of range")
        return count

    def _type(self) -> None:
        """Of a list or a map: a text, or the number of one that came before."""
        if _is_text(self.body[self.at]):
            self._text()
        else:
            self._int()

    def _define(self) -> None:
        """A class: its name and those of its fields."""
        self.at += 1
        self._text()
        count = self._count(MAX_FIELDS)
        for _ in range(count):
            self._text()
        if len(self._classes) >= MAX_CLASSES:
            raise ValueError("it defines too many classes")
        self._classes.append(count)

    def _fields(self, number: int) -> int:
        if not 0 <= number < len(self._classes):
            raise ValueError("a class is not defined")
        return self._classes[number]

    def _skip(self, todo: int) -> None:
        body = self.body
        stack: list[int] = []
        while todo or stack:
            if not todo:
                todo = stack.pop()
                continue
            tag = body[self.at]
            if tag == _Z and todo == _OPEN:
                self.at += 1
                todo = stack.pop()
                continue
            self._left -= 1
            if self._left < 0:
                raise ValueError("it has too many values")
            if tag == 0x43:  # the object follows
                self._define()
                continue
            if todo != _OPEN:
                todo -= 1
            size = _SIZES[tag]
            if size:
                self.at += size
                continue
            inner = self._enter(tag)
            if inner:
                if len(stack) >= MAX_DEPTH:
                    raise ValueError("it nests too deep")
                stack.append(todo)
                todo = inner

    def _enter(self, tag: int) -> int:
        """A value without a fixed size: behind it, or into it. Returns how many values follow that are parts of it."""
        if _is_text(tag):
            self._text()
            return 0
        if 0x34 <= tag < 0x38 or tag in {0x41, 0x42}:
            self._binary()
            return 0
        self.at += 1
        if 0x60 <= tag < 0x70:
            return self._fields(tag - 0x60)
        if 0x78 <= tag < 0x80:
            return tag - 0x78
        if 0x70 <= tag < 0x78:
            self._type()
            return tag - 0x70
        if tag in {0x48, 0x57}:  # a map, a list
            return _OPEN
        if tag in {0x4D, 0x55}:  # the same with a type
            self._type()
            return _OPEN
        if tag == 0x4F:
            return self._fields(self._int())
        if tag == 0x51:  # a value that came before
            self._int()
            return 0
        if tag in {0x56, 0x58}:  # a list of a known length
            if tag == 0x56:
                self._type()
            return self._count()
        raise ValueError(f"{tag:#x} begins no value")

    def _binary(self) -> None:
        body = self.body
        while body[self.at] == 0x41:
            self._left -= 1
            if self._left < 0:
                raise ValueError("it has too many values")
            self.at += 3 + _U16.unpack_from(body, self.at + 1)[0]
        tag = body[self.at]
        if 0x20 <= tag < 0x30:
            self.at += 1 + tag - 0x20
        elif 0x34 <= tag < 0x38:
            self.at += 2 + ((tag - 0x34) << 8 | body[self.at + 1])
        elif tag == 0x42:
            self.at += 3 + _U16.unpack_from(body, self.at + 1)[0]
        else:
            raise ValueError("bytes do not end")


def _is_text(tag: int) -> bool:
    return tag < 0x20 or 0x30 <= tag < 0x34 or tag in {0x52, 0x53}


def write_text(text: bytes) -> bytes:
    """A text in UTF-8. Raises `ValueError` above 65535 units."""
    units = len(text.translate(None, _CONTINUATION)) + len(text) - len(text.translate(None, _FOUR))
    if units < 0x20:
        return bytes((units,)) + text
    if units < 0x400:
        return bytes((0x30 + (units >> 8), units & 0xFF)) + text
    if units > 0xFFFF:
        raise ValueError(f"a text of {units} characters; 65535 is the limit")
    return b"S" + _U16.pack(units) + text
