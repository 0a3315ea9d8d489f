from __future__ import annotations

from pathlib import Path

import pytest

from proxy.accesslog.template import USUAL, Unknown, names_of, rows

PAGE = Path(__file__).parents[3] / "docs" / "access-log.md"


def test_every_field_and_every_usual_template_is_documented() -> None:
    page = PAGE.read_text()
    assert [name for name, about in rows() if f"| `{name}` | {about} |" not in page] == []
    assert [template for template in USUAL.values() if template not in page] == []


@pytest.mark.parametrize("template", ["{stauts}", "{header.}", "{header.User Agent}", "{}"])
def test_unknown_fields_are_named(template: str) -> None:
    with pytest.raises(Unknown):
        names_of(template)


@pytest.mark.parametrize("template", ["{time", "time}", "{{time}}"])
def test_lone_braces_are_refused(template: str) -> None:
    with pytest.raises(ValueError, match="brace"):
        names_of(template)
