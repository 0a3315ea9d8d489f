from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hotswap.errors import ConfigError
from hotswap.settings.kinds import Count, Duration, FilePath, Flag, Text, TextList
from hotswap.settings.loader import build, read_file, read_text
from hotswap.settings.problems import InvalidConfig, Problems
from hotswap.settings.reader import Part
from hotswap.settings.sections import Form, Items, Key, Section


class Lamp(msgspec.Struct, frozen=True):
    level: int = -3
    lit: bool = True


class Room(msgspec.Struct, frozen=True):
    name: str
    plan: str = ""
    after: float = 5.0
    lamps: tuple[Lamp, ...] = ()
    words: tuple[str, ...] = ("a", "b")
    door: Lamp = Lamp()


LAMP = Section("lamp", Lamp, "Lights.", (Key("level", Count(-10, 10), "How far."), Key("lit", Flag(), "Whether.")))
ROOM = Section(
    "room",
    Room,
    "A room.",
    (
        Key("name", Text("name", re.compile("[a-z]+"), "a name such as hall"), "Its name.", required=True),
        Key("plan", FilePath("path", re.compile(".+"), "the path of a file"), "Its plan.", absent="none"),
        Key("after", Duration(), "When."),
        Key("lamps", Items(LAMP), "Its lamps.", absent="none"),
        Key("words", TextList("words", "words", re.compile("[a-z]")), "Words."),
        Key("door", LAMP, "At the door.", absent="the defaults below"),
    ),
)
FORM = Form(ROOM, "docs/rooms.md", {"delay": "after", "label": "title"})


def nothing(*_: Any) -> None:
    """Neither checks nor completes."""


def read(text: str) -> Any:
    return build(read_text(text, "room.yaml", FORM, nothing)[0], Path("/etc/rooms"), nothing)


def refused(text: str, form: Form = FORM) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        read_text(text, "room.yaml", form, nothing)
    return str(raised.value).splitlines()


def test_structs_come_of_sections_lists_and_defaults() -> None:
    room = read("name: hall\nplan: hall.txt\nlamps: [{level: -7, lit: off}, {}]\n")
    assert room == Room("hall", "/etc/rooms/hall.txt", lamps=(Lamp(-7, lit=False), Lamp()))


def test_absolute_paths_stay() -> None:
    assert read("name: hall\nplan: /a").plan == "/a"


def test_all_problems_come_at_once_in_the_order_of_lines() -> None:
    assert refused("plan: 5\nlamps:\n  - {level: -11}\n  - {level: 1.5}\n") == [
        'room.yaml:1: plan: YAML reads 5 as a number; write it in quotes, "5"',
        "room.yaml:1: name is missing; add it",
        "room.yaml:3: lamps[0].level: '-11' does not fit; write a whole number from -10 to 10, without quotes",
        "room.yaml:4: lamps[1].level: '1.5' does not fit; write a whole number from -10 to 10, without quotes",
    ]


def test_words_of_other_products_lead_to_keys_of_this_section_only() -> None:
    assert refused("name: a\ndelay: 5s\n") == [
        "room.yaml:2: delay: 'delay' is not a key of a room; did you mean after?"
    ]
    assert "did you mean" not in refused("name: a\nlabel: 5s\n")[0]


def test_empty_file_names_what_cannot_be_missing_and_the_page_is_named() -> None:
    assert refused("") == ["room.yaml: the file is empty; write at least name"]
    assert refused("[" * 20) == ["room.yaml:1: nested deeper than 16 levels; see docs/rooms.md for the form"]


def test_empty_file_is_good_where_no_key_is_required() -> None:
    part, warnings = read_text("# nothing\n", "lamp.yaml", Form(LAMP), nothing)
    assert build(part, Path(), nothing) == Lamp()
    assert warnings == ()


def test_checks_of_the_caller_add_problems_and_warnings() -> None:
    def check(part: Part, problems: Problems) -> None:
        problems.warn(9, "late", "b")
        problems.warn(*part.place("name"), f"a {part.value('name')}")

    _, warnings = read_text("name: hall", "room.yaml", FORM, check)
    assert [warning.at("x") for warning in warnings] == ["x:1: name: a hall", "x:9: late: b"]
    with pytest.raises(InvalidConfig, match=r"^room\.yaml:1: name: no$"):
        read_text("name: hall", "room.yaml", FORM, lambda part, problems: problems.error(*part.place("name"), "no"))


def test_what_follows_from_other_keys_is_completed_per_section() -> None:
    def complete(section: Section, fields: dict[str, Any]) -> None:
        if section is LAMP:
            fields["level"] = 1

    part, _ = read_text("name: a\nlamps: [{}]\ndoor: {}", "room.yaml", FORM, nothing)
    assert build(part, Path("/"), complete) == Room("a", lamps=(Lamp(1),), door=Lamp(1))


def test_value_that_reads_as_none_is_kept() -> None:
    class Never(Count, frozen=True):
        def read(self, node: Any) -> Any:
            return None

    section = Section("lamp", Lamp, "", (Key("level", Never(0, 1), ""),))
    part, _ = read_text("level: never", "lamp.yaml", Form(section), nothing)
    assert build(part, Path(), nothing).level is None


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (None, "cannot be read: no such file or directory; name another"),
        (b"a" * 2049, "larger than 2 KB; is this a room?"),
        (b"a: 1\nb: \xff\n", "not UTF-8; save the file in that encoding"),
    ],
)
def test_file_that_is_no_text(tmp_path: Path, raw: bytes | None, problem: str) -> None:
    path = tmp_path / "room.yaml"
    if raw is not None:
        path.write_bytes(raw)
    with pytest.raises(InvalidConfig) as raised:
        read_file(path, remedy="name another", most=2048, what="a room")
    assert str(raised.value).startswith(str(path))
    assert problem in str(raised.value)


def test_byte_order_mark_at_the_beginning_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfname: a")
    assert read_file(tmp_path / "a", remedy="") == "name: a"
