from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.loader import loads
from proxy.config.model import Config

EXAMPLE = Path(__file__).parents[3] / "examples" / "edge.yaml"

SHORT = """
name: edge
listeners:
  - {name: db, address: "127.0.0.1:5432", protocol: tcp, cluster: db}
clusters:
  - {name: db, endpoints: [127.0.0.1:15432]}
"""

SAME_IN_OTHER_WORDS = """
# a comment
clusters:
  - endpoints:
      - address: localhost:15432
        weight: 1
    name: "db"
    idle_timeout: 300s
name: edge
upgrade: {max_rounds: 6}
listeners:
  - cluster: db
    protocol: tcp
    address: 127.0.0.1:5432
    name: db
"""


def config(text: str) -> Config:
    return loads(text).config


def test_id_is_that_of_the_meaning_not_of_the_text() -> None:
    assert config(SHORT).id == config(SAME_IN_OTHER_WORDS).id


@pytest.mark.parametrize(
    ("old", "new"),
    [("name: edge", "name: edge2"), (":5432", ":5433"), ("15432]", "15433]"), ("15432]", "15432], retries: 2")],
)
def test_id_changes_with_the_meaning(old: str, new: str) -> None:
    assert config(SHORT).id != config(SHORT.replace(old, new)).id


def test_the_order_of_the_uids_of_peers_has_none() -> None:
    one = config(f"{SHORT}upgrade: {{peer_uids: [1002, 0, 1001]}}\n")
    other = config(f"{SHORT}upgrade: {{peer_uids: [0, 1001, 1002]}}\n")
    assert one.upgrade.peer_uids == (0, 1001, 1002)
    assert one.id == other.id
    assert config(f"{SHORT}upgrade: {{peer_uids: []}}\n").id == config(SHORT).id


def test_id_stays_the_same_from_version_to_version() -> None:
    """Status and history of two versions compare ids, so the digest must not depend on the build."""
    assert config(SHORT).id == "8648e6f3ab6c1c61"


def test_the_order_of_endpoints_and_routes_has_a_meaning() -> None:
    two = SHORT.replace("[127.0.0.1:15432]", "[127.0.0.1:1, 127.0.0.1:2]")
    swapped = SHORT.replace("[127.0.0.1:15432]", "[127.0.0.1:2, 127.0.0.1:1]")
    assert config(two).id != config(swapped).id


def test_cluster_of_a_listener_is_where_the_rest_goes() -> None:
    web, db = loads(EXAMPLE.read_text()).config.listeners
    assert (web.cluster, db.cluster) == ("app", "db")
