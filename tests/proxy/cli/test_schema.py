from __future__ import annotations

import json

from click.testing import CliRunner

from proxy.cli.schema import schema
from proxy.config.schema import json_schema


def test_schema_is_printed_as_json() -> None:
    result = CliRunner().invoke(schema)
    assert result.exit_code == 0
    assert json.loads(result.stdout) == json_schema()


def test_schema_on_one_line_for_programs() -> None:
    result = CliRunner().invoke(schema, ["--json"])
    assert result.stdout.count("\n") == 1
    assert json.loads(result.stdout) == json_schema()
