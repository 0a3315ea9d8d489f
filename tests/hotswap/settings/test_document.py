from __future__ import annotations

import pytest
import yaml

from hotswap.settings import document
from hotswap.settings.document import Mapping, Scalar, Sequence, Unreadable, parse


def refused(text: str) -> tuple[int, str]:
    with pytest.raises(Unreadable) as raised:
        parse(text, least="name, listeners and clusters")
    return raised.value.line, str(raised.value)


def test_every_node_knows_its_line() -> None:
    node = parse("a: 1\nb:\n  - x\n  - {c: yes}\n")
    assert isinstance(node, Mapping)
    assert node.entries["a"] == (1, Scalar(1, "1", "int"))
    line, items = node.entries["b"]
    assert (line, items) == (
        2,
        Sequence(3, [Scalar(3, "x", "str"), Mapping(4, {"c": (4, Scalar(4, "yes", "bool"))}, [])]),
    )


def test_quoted_values_are_text() -> None:
    assert parse("'1'") == Scalar(1, "1", "str")
    assert parse('"on"') == Scalar(1, "on", "str")


def test_repeated_keys_are_kept_for_the_report() -> None:
    node = parse("a: 1\nb: 2\na: 3\n")
    assert isinstance(node, Mapping)
    assert node.repeated == [(3, "a", 1)]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 0, "the file is empty; write at least name, listeners and clusters"),
        ("# nothing\n", 0, "the file is empty; write at least name, listeners and clusters"),
        ("a: 1\n---\nb: 2\n", 2, "a second document begins here; keep one configuration in a file"),
        ("a: &x 1\nb: *x\n", 2, "the alias *x is not supported; write the value out"),
        ("a: 1\n<<: {b: 1}\n", 2, "the merge key << is not supported; write the keys out"),
        ("a: 1\nb: !!python/name:os.system\n", 2, "the tag 'tag:yaml.org,2002:python/name:os.system' is not supported"),
        ("a: 1\nb: !secret x\n", 2, "the tag '!secret' is not supported; remove it"),
        ("on: 1\n", 1, "YAML reads the key 'on' as a boolean; write a name, or quote it"),
        ("{[a]: 1}\n", 1, "a list or mapping stands where a key is expected; write key: value"),
        ("a: 1\nb: {c: 1\n", 3, "not valid YAML: "),
        ("a:\n\tb: 1\n", 2, "indent by spaces, not by tabs"),
        ("a: 1\nb: [::1]:80\n", 2, 'write an IPv6 address in quotes, "[::1]:8080"'),
        ("a: 1\nb: \0\n", 2, "remove the character"),
        ("a: 1\n\ufeff\n", 2, "a byte order mark stands inside the file; remove the character"),
        ("[" * 18 + "]" * 18, 1, "nested deeper than 16 levels"),
        ("[" * 500_000, 1, "nested deeper than 16 levels"),
    ],
)
def test_what_is_refused_says_where_and_what_to_do(text: str, line: int, message: str) -> None:
    where, what = refused(text)
    assert message in what
    assert where == line


def test_empty_document_is_an_empty_mapping_where_no_key_is_required() -> None:
    assert parse("# nothing\n") == Mapping(0, {}, [])


def test_page_of_the_form_is_named() -> None:
    with pytest.raises(Unreadable, match=r"levels; see docs/config\.md for the form"):
        parse("[" * 18 + "]" * 18, "docs/config.md")


def test_both_parsers_of_yaml_give_the_same_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a: 1\nb:\n  - x\n  - {c: yes, d: |\n    long}\n"
    fast = (refused(text)[0], parse("a:\n - 1\n - {b: c}\n"))
    monkeypatch.setattr(document, "_LOADER", yaml.SafeLoader)
    assert (refused(text)[0], parse("a:\n - 1\n - {b: c}\n")) == fast
