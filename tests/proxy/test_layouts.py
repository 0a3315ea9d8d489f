"""What a ``.pxd`` says and what its source says cannot drift apart: modules, classes, bases, fields and methods."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import msgspec
import pytest

from proxy.compiled import MODULES, source
from tests.kit.companion import ROOT

CLASS = re.compile(r"cdef class (\w+)(?:\((\w+)\))?:")
FIELDS = re.compile(r"    cdef [^()]*?(\w+(?:, *\w+)*)")
METHOD = re.compile(r"    cpdef [^(]*?(\w+)\(")


class Layout(msgspec.Struct):
    """A class, as one of the two files has it."""

    base: str = ""
    fields: set[str] = msgspec.field(default_factory=set)
    methods: set[str] = msgspec.field(default_factory=set)
    slotted: bool = True


def declared(name: str) -> dict[str, Layout]:
    """By the ``.pxd``."""
    found: dict[str, Layout] = {}
    layout = Layout()
    for line in source(name).with_suffix(".pxd").read_text().splitlines():
        if match := CLASS.fullmatch(line):
            layout = found[match[1]] = Layout(match[2] or "")
        elif match := METHOD.match(line):
            layout.methods.add(match[1])
        elif match := FIELDS.fullmatch(line.partition("#")[0].rstrip()):
            layout.fields.update(re.split(", *", match[1]))
    return found


def written(name: str) -> dict[str, Layout]:
    """By the source."""
    found = {}
    for node in ast.parse(source(name).read_text()).body:
        if isinstance(node, ast.ClassDef):
            base = ast.unparse(node.bases[0]).partition("[")[0] if node.bases else ""
            slots = _slots(node)
            methods = {one.name for one in node.body if isinstance(one, ast.FunctionDef)}
            fields = set(_assigned(node)) if slots is None else slots
            found[node.name] = Layout(base, fields, methods, slots is not None)
    return found


def _slots(node: ast.ClassDef) -> set[str] | None:
    for statement in node.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__slots__":
            value = ast.literal_eval(statement.value)
            return {value} if isinstance(value, str) else set(value)
    return None


def _assigned(node: ast.ClassDef) -> Iterator[str]:
    """What methods of a class without slots give values to."""
    for one in ast.walk(node):
        if isinstance(one, ast.Attribute) and isinstance(one.ctx, ast.Store) and ast.unparse(one.value) == "self":
            yield one.attr


def inherited(layout: Layout) -> set[str]:
    """The fields of the compiled classes under a class."""
    fields: set[str] = set()
    everywhere = {cls: one for module in MODULES for cls, one in declared(module).items()}
    while layout.base:
        layout = everywhere[layout.base]
        fields |= layout.fields
    return fields


CLASSES = [(name, cls) for name in MODULES for cls in declared(name)]


def test_every_compiled_module_has_a_layout_and_every_layout_a_module() -> None:
    layouts = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in (ROOT / "proxy").rglob("*.pxd")}
    assert layouts == set(MODULES)


def test_every_module_in_c_has_a_layout_and_a_twin() -> None:
    for path in (ROOT / "proxy").rglob("*.pyx"):
        assert path.with_suffix(".pxd").exists(), path
        assert path.with_suffix(".py").exists(), path


@pytest.mark.parametrize(("name", "cls"), CLASSES)
def test_a_layout_and_its_source_have_the_same_fields(name: str, cls: str) -> None:
    layout, class_ = declared(name)[cls], written(name)[cls]
    fields, slots = layout.fields, class_.fields
    if source(name).with_suffix(".pyx").exists():  # then the source is a twin: what is private is its own matter
        fields, slots = ({one for one in names if not one.startswith("_")} for names in (fields, slots))
    elif not class_.slotted:
        slots = slots - inherited(layout)
    assert fields == slots


@pytest.mark.parametrize(("name", "cls"), CLASSES)
def test_a_layout_and_its_source_have_the_same_base(name: str, cls: str) -> None:
    base = declared(name)[cls].base
    assert base == written(name)[cls].base


@pytest.mark.parametrize(("name", "cls"), CLASSES)
def test_a_layout_tells_of_methods_that_there_are(name: str, cls: str) -> None:
    assert declared(name)[cls].methods - written(name)[cls].methods == set()


KEPT = {
    "plane",
    "_whole",
    "epoll",
    "calls",
    "decoder",
    "encoder",
    "frames_left",
    "resets_left",
    "guests",
    "_alarms",
    "owner",
    "inbox",
    "requests",
}
"""Fields that hold one object for as long as a method of it may run."""
IN_C = {method for module in MODULES for one in declared(module).values() for method in one.methods}
"""Methods that are called as functions of C; a call of any other holds what it is a method of."""
TYPED = re.compile(r"    cdef public ([A-Z]\w+) (\w+)")


def typed(name: str, cls: str) -> set[str]:
    """The fields of a class, and of those under it, that hold compiled objects."""
    found: set[str] = set()
    everywhere = {one: module for module in MODULES for one in declared(module)}
    while cls:
        within = False
        for line in source(name).with_suffix(".pxd").read_text().splitlines():
            if match := CLASS.fullmatch(line):
                within = match[1] == cls
            elif within and (match := TYPED.match(line)):
                found.add(match[2])
        cls = declared(name)[cls].base
        name = everywhere.get(cls, name)
    return found


@pytest.mark.parametrize(("name", "cls"), CLASSES)
def test_what_a_method_runs_on_is_kept_alive(name: str, cls: str) -> None:
    """A compiled call holds no reference to the object of a field: if the field is given another one meanwhile, the
    method runs on memory that was given back. A local name holds one."""
    fields = typed(name, cls) - KEPT
    tree = ast.parse(source(name).read_text())
    (found,) = (one for one in tree.body if isinstance(one, ast.ClassDef) and one.name == cls)
    calls = [one.func for one in ast.walk(found) if isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute)]
    assert [
        f"{name}:{call.lineno}: {ast.unparse(call)}"
        for call in calls
        if isinstance(call.value, ast.Attribute)
        and ast.unparse(call.value.value) == "self"
        and call.value.attr in fields
        and call.attr in IN_C
    ] == []
