"""A changed configuration: the next generation applies it, or refuses it and nothing happens."""

from __future__ import annotations

import shlex
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from hotswap import errors
from tests.kit.client import Client
from tests.kit.companion import ROOT
from tests.kit.ports import loopback, refused
from tests.kit.processes import PATIENCE, hotswap
from tests.kit.stage import Edge, Stage
from tests.kit.waiting import eventually


def probe(address: str, path: str) -> int:
    """The status of an answer of the admin address. Raises OSError if nobody listens."""
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.fixture
def edge(stage: Stage) -> Edge:
    return stage.edge()


MISTAKES = {
    "unknown cluster": ("cluster: db", "cluster: dbx", "there is no cluster 'dbx'; did you mean db?"),
    "not yaml": ("clusters:", "clusters: [", "not valid YAML"),
    "no unit": ("name: edge", "name: edge\ndrain_timeout: 5", "drain_timeout: 5 has no unit; write 5s"),
}


@pytest.mark.parametrize(("old", "new", "message"), MISTAKES.values(), ids=MISTAKES)
def test_broken_configuration_leaves_the_running_generation_untouched(
    edge: Edge, old: str, new: str, message: str
) -> None:
    with Client(edge.web) as client:
        assert client.ask("/bytes?n=10").status == 200
        written = edge.instance.config_file.read_text()
        assert old in written
        edge.instance.config_file.write_text(written.replace(old, new, 1))
        upgrade = edge.instance.upgrade()
        assert upgrade.exit_code == errors.ConfigError.exit_code
        assert f"{edge.instance.config_file}:" in upgrade.message
        assert message in upgrade.message
        assert edge.instance.status().generation == 1
        assert client.ask("/bytes?n=10").status == 200


def test_admin_address_comes_moves_and_goes_with_the_configuration(edge: Edge) -> None:
    admin = loopback()
    with pytest.raises(OSError, match="refused"):
        probe(admin, "/ready")
    edge.instance.config["admin"] = admin
    edge.instance.write_config()
    assert edge.instance.upgrade().exit_code == 0
    assert (probe(admin, "/ready"), probe(admin, "/live"), probe(admin, "/status")) == (200, 200, 200)
    assert edge.instance.upgrade().exit_code == 0
    assert probe(admin, "/ready") == 200
    assert probe(admin, "/upgrade") == 404
    del edge.instance.config["admin"]
    edge.instance.write_config()
    assert edge.instance.upgrade().exit_code == 0
    # The generation before has the socket until its end: who comes in between is reset.
    eventually(lambda: refused(admin), within=PATIENCE, what="nobody listens there any more")


def test_admin_address_that_is_taken_refuses_the_upgrade(edge: Edge) -> None:
    edge.instance.config["admin"] = edge.upstreams.addresses[0]
    edge.instance.write_config()
    upgrade = edge.instance.upgrade()
    assert upgrade.exit_code == errors.DestinationFailed.exit_code
    assert f"{edge.upstreams.addresses[0]} cannot be bound" in upgrade.message
    assert edge.instance.status().generation == 1


def test_the_example_of_tls_is_usable_as_it_says(tmp_path: Path) -> None:
    """With the certificate that its first lines make, in the directory of the file."""
    example = (ROOT / "examples" / "tls.yaml").read_text()
    command = example[example.index("openssl req") : example.index("#     hotswap check")].replace("\\\n#", "")
    subprocess.run(shlex.split(command), cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "tls.yaml").write_text(example)
    told = subprocess.run(
        [*hotswap(), "check", "-c", "tls.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (told.returncode, told.stdout) == (0, "tls.yaml: ok: 3 listeners, 2 clusters\n"), told.stderr
