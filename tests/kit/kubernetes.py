"""What Kubernetes takes in a manifest, read from the models of the API that the package lightkube-models brings.

They are classes in Python, made from the API's own description. They are read and not imported: importing them takes
a client of Kubernetes, which nobody here needs.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

PLAIN: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "dict": (dict,),
    "util_intstr.IntOrString": (int, str),
    "resource.Quantity": (int, str),
}


class Field(NamedTuple):
    """One of a model."""

    kind: str  # such as `Optional[List[EnvVar]]`
    required: bool


@functools.cache
def models(module: str) -> dict[str, dict[str, Field]]:
    """Every model of a module, such as `core_v1`, with its fields."""
    spec = find_spec("lightkube.models")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    tree = ast.parse(Path(next(iter(spec.submodule_search_locations)), f"{module}.py").read_text())
    return {one.name: dict(_fields(one)) for one in tree.body if isinstance(one, ast.ClassDef)}


def _fields(model: ast.ClassDef) -> Iterator[tuple[str, Field]]:
    for one in model.body:
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name):
            assert isinstance(one.annotation, ast.Constant)
            yield one.target.id.rstrip("_"), Field(str(one.annotation.value), one.value is None)


def complaints(value: Any, kind: str, module: str, at: str = "") -> Iterator[str]:
    """What Kubernetes would not take in a value of this kind: unknown fields, wrong types, what is missing."""
    kind = kind.removeprefix("Optional[").removesuffix("]") if kind.startswith("Optional[") else kind
    if kind.startswith("List["):
        if not isinstance(value, list):
            yield f"{at}: not a list: {value!r}"
            return
        for index, one in enumerate(value):
            yield from complaints(one, kind.removeprefix("List[").removesuffix("]"), module, f"{at}[{index}]")
        return
    if kind in PLAIN:
        if not isinstance(value, PLAIN[kind]) or (isinstance(value, bool) and kind != "bool"):
            yield f"{at}: not a {kind}: {value!r}"
        return
    if "." in kind:
        module, _, kind = kind.partition(".")
    yield from _of_model(value, models(module)[kind], module, at)


def _of_model(value: Any, fields: Mapping[str, Field], module: str, at: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{at}: not a mapping: {value!r}"
        return
    for name, field in fields.items():
        if field.required and name not in value:
            yield f"{at}.{name}: is missing"
    for name, one in value.items():
        if name not in fields:
            yield f"{at}.{name}: Kubernetes has no such field"
        else:
            yield from complaints(one, fields[name].kind, module, f"{at}.{name}")
