"""The twins in Python of modules in C, whatever the proxy runs with: both have to come to the same."""

from __future__ import annotations

import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from typing import Any

from proxy.compiled import source


def twin(name: str, **imported: Any) -> Any:
    """A module in Python. Those given, by names with __ for dots, are what it imports."""
    spec = spec_from_loader(f"{name}_in_python", SourceFileLoader(f"{name}_in_python", str(source(name))))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    others = {one.replace("__", "."): other for one, other in imported.items()}
    before = {one: sys.modules.get(one) for one in others}
    sys.modules.update(others)
    try:
        spec.loader.exec_module(module)
    finally:
        for one, known in before.items():
            if known is None:
                del sys.modules[one]
            else:
                sys.modules[one] = known
    return module


def with_calls(made: Any, last: int, known: dict[int, Any]) -> Any:
    """Calls under way (`proxy.multiplexed.pending`), of which these are known and that id was given last."""
    made.last = last
    for number, call in known.items():
        made.put(number, call)
    return made


def left(made: Any) -> tuple[Any, ...]:
    """What they hold, and what they tell of the run before."""
    return made.items(), made.last, made.count, made.soonest
