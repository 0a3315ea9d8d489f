from __future__ import annotations

from typing import get_args

import pytest

from proxy.config.model import Protocol
from proxy.connection import Connection
from proxy.protocols import KINDS, connections


@pytest.mark.parametrize("kind", KINDS)
def test_the_table_says_what_the_class_says(kind: str) -> None:
    found = connections(kind)
    assert issubclass(found, Connection)
    assert (found.kind, found.schema) == (kind, KINDS[kind].schema)
    assert (found.__module__, found.__name__) == KINDS[kind][:2]


@pytest.mark.parametrize("protocol", get_args(Protocol))
def test_every_protocol_has_connections_for_its_listeners(protocol: str) -> None:
    assert f"{protocol}.downstream" in KINDS


def test_a_kind_of_another_version_is_unknown() -> None:
    with pytest.raises(KeyError):
        connections("quic.downstream")
