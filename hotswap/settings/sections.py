"""What the table of keys is made of: sections of keys, and lists of sections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from hotswap.settings.kinds import Kind


class Items(msgspec.Struct, frozen=True):
    """A list with at least one item, each of the same section; or a `word` in its place, which is read as no item."""

    section: Section
    word: str = ""


class Key(msgspec.Struct, frozen=True):
    """One key.

    `absent` says what leaving it out means where there is no default; `only` names the protocols of the listeners
    on which the key may stand, none for all.
    """

    name: str
    kind: Kind | Section | Items
    about: str
    required: bool = False
    example: str = ""
    absent: str = ""
    only: tuple[str, ...] = ()


class Section(msgspec.Struct, frozen=True):
    """A mapping with known keys. `shorthand` names the key that is meant when a plain value stands in its place."""

    title: str
    struct: type[msgspec.Struct]
    about: str
    keys: tuple[Key, ...]
    shorthand: str = ""

    @property
    def a_title(self) -> str:
        """The title with its article."""
        return f"{'an' if self.title[0] in 'aeiou' else 'a'} {self.title}"

    def key(self, name: str) -> Key | None:
        """The key of this name."""
        return next((key for key in self.keys if key.name == name), None)

    def kind(self, name: str) -> Kind | Section | Items | None:
        """What the key of this name takes."""
        key = self.key(name)
        return None if key is None else key.kind

    def default(self, key: Key) -> Any:
        """The default of an optional key; None where leaving it out means something that cannot be written."""
        known = next((known for known in msgspec.structs.fields(self.struct) if known.name == key.name), None)
        if known is None or known.required or not isinstance(known.default, str | int | float | tuple):
            return None
        return None if known.default in ("", ()) else known.default


class Form(msgspec.Struct, frozen=True):
    """What a file may hold: the section that it is, and the words around it.

    `page` is the documentation of its keys. `elsewhere` has keys of other products and what they are called here.
    """

    root: Section
    page: str = ""
    elsewhere: Mapping[str, str] = msgspec.field(default_factory=dict)

    @property
    def least(self) -> str:
        """The keys that cannot be missing, for people; empty if there are none."""
        *others, last = [key.name for key in self.root.keys if key.required] or [""]
        return f"{', '.join(others)} and {last}" if others else last
