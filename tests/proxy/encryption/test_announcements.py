"""Files in which endpoints announce what they accept: what may stand there, and that clusters follow them."""

# mypy: disable-error-code="unreachable"

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

import pytest

from proxy.cluster import Cluster
from proxy.config.loader import loads
from proxy.encryption.announcements import Announcements, announced
from tests.proxy.encryption.scene import STEP, Changing
from tests.proxy.manual_watch import ManualWatch
from tests.proxy.metrics.scene import apply

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.kit.certificates import Authority

    Build = Callable[..., Changing]

ONE, TWO = "127.0.0.1:9000", "127.0.0.1:9001"


# ---- the form ----


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.1:80: tls\n10.0.0.2:80: plaintext\n", {"10.0.0.1:80": "tls", "10.0.0.2:80": "plaintext"}),
        ("# since May\n10.0.0.1:80: 'tls'  # tried\n", {"10.0.0.1:80": "tls"}),
        ("{10.0.0.1:80: tls}", {"10.0.0.1:80": "tls"}),
        ('"[::1]:80": tls\nunix:/run/app: tls', {"[::1]:80": "tls", "unix:/run/app": "tls"}),
        ("localhost:080: tls\n'[0:0::2]:80': tls", {"127.0.0.1:80": "tls", "[::2]:80": "tls"}),
        ("{}", {}),
        ("", {}),
        (" \n\n", {}),
        ("# nobody yet\n\n  # nor here", {}),
    ],
)
def test_what_a_file_says_by_canonical_addresses(text: str, expected: dict[str, str]) -> None:
    assert announced(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("10.0.0.1:80: tls\n10.0.0.2:80: ssl", "line 2: 'ssl' is not known; write plaintext or tls"),
        ("10.0.0.1:80: TLS", "line 1: 'TLS' is not known; write plaintext or tls"),
        ("10.0.0.1:80:", "line 1: the value is missing; write plaintext or tls"),
        ("10.0.0.1:80: on", 'line 1: YAML reads on as a boolean; write it in quotes, "on"'),
        ("10.0.0.1:80: [tls]", "line 1: a list stands here; write plaintext or tls"),
        ("\n10.0.0.1: tls", "line 2: '10.0.0.1' is not an address: write host:port, [ipv6]:port or unix:/path"),
        ("app.test:80: tls", "line 1: 'app.test:80' has no numeric host: write an IPv4 address"),
        (
            "10.0.0.1:80: tls\n# twice\n10.0.0.1:80: plaintext",
            "line 3: '10.0.0.1:80' stands in line 1 already; keep one of them",
        ),
        (
            "127.0.0.1:80: tls\nlocalhost:80: plaintext",
            "line 2: 'localhost:80' is 127.0.0.1:80, which stands above already; keep one of them",
        ),
        ("- 10.0.0.1:80: tls", "line 1: write a line for each endpoint, such as 10.0.0.1:12200: tls"),
        ("\ntls", "line 2: write a line for each endpoint, such as 10.0.0.1:12200: tls"),
        ("10.0.0.1:80: tls\n  10.0.0.2:80: tls", "line 2: not valid YAML: "),
        ("[::1]:80: tls", 'write an IPv6 address in quotes, "[::1]:8080"'),
        ("10.0.0.1:80: &a tls\n10.0.0.2:80: *a", "line 2: the alias *a is not supported"),
        ("10.0.0.1:80: tls\n---\n10.0.0.2:80: tls", "line 2: a second document begins here"),
    ],
)
def test_mistake_is_told_with_its_line_and_the_remedy(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        announced(text)


# ---- files that change ----


class Following:
    """The announcements of a few clusters, without a proxy around them."""

    def __init__(self, *paths: Path | None) -> None:
        self.news = 0
        self.announcements = Announcements(self._make, self._hear)
        self.announcements.follow(self.clusters(*paths))
        self.announcements.start()

    def _make(self, changed: Callable[[], None]) -> ManualWatch:
        self.watch = ManualWatch(changed)
        return self.watch

    def _hear(self) -> None:
        self.news += 1

    def clusters(self, *paths: Path | None) -> list[Cluster]:
        self.made = [Cluster(cluster(path)) for path in paths]
        return self.made

    @property
    def told(self) -> list[Any]:
        """What each cluster knows of its file."""
        return [one.switch.wishes.file for one in self.made]


def cluster(path: Path | None) -> Any:
    announcements = "" if path is None else f", announcements: {path}"
    return loads(f"""\
name: edge
listeners: [{{name: web, address: 127.0.0.1:80, protocol: http1, cluster: app}}]
clusters: [{{name: app, endpoints: [{ONE}], tls: {{verify: false}}, encryption: {{wanted: follow{announcements}}}}}]
""").config.clusters[0]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "announced.yaml"
    path.write_text(f"{ONE}: tls\n")
    return path


def complaints(caplog: pytest.LogCaptureFixture) -> list[dict[str, str]]:
    told = [vars(record)["fields"] for record in caplog.records if record.levelno == logging.ERROR]
    caplog.clear()
    return told


def test_file_is_read_at_once_and_again_when_it_changes(path: Path) -> None:
    following = Following(path, None)
    assert following.told == [{ONE: "tls"}, None]
    assert following.watch.paths == [str(path)]
    path.write_text(f"{ONE}: plaintext\n{TWO}: tls\n")
    following.watch.changed()
    assert following.told == [{ONE: "plaintext", TWO: "tls"}, None]
    assert following.news == 1


def test_nothing_new_is_nothing_to_do(path: Path) -> None:
    following = Following(path)
    path.write_text(f"# rewritten\n{ONE}: 'tls'\n")
    following.watch.changed()
    assert following.news == 0


def test_clusters_that_share_a_file_both_follow_it(path: Path) -> None:
    following = Following(path, path)
    path.write_text("")
    following.watch.changed()
    assert following.told == [{}, {}]
    assert following.news == 1, "heard once"


def test_file_that_is_not_there_says_nothing_and_is_no_trouble(
    path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    following = Following(path, tmp_path / "later.yaml")
    path.unlink()
    following.watch.changed()
    assert following.told == [{}, {}]
    assert complaints(caplog) == []
    (tmp_path / "later.yaml").write_text(f"{ONE}: tls")
    following.watch.changed()
    assert following.told == [{}, {ONE: "tls"}]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"10.0.0.1:80: ssl", "line 1: 'ssl' is not known; write plaintext or tls"),
        (b"10.0.0.1:80: tls # caf\xe9", "utf-8"),
        (b"#" * (1 << 20) + b"\n", "larger than 1 MB"),
    ],
    ids=["unknown word", "another encoding", "too large"],
)
def test_broken_file_changes_nothing_and_is_told_once(
    path: Path, content: bytes, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    following = Following(path, path)
    path.write_bytes(content)
    following.watch.changed()
    following.watch.changed()
    assert following.told == [{ONE: "tls"}, {ONE: "tls"}]
    assert following.news == 0
    (told,) = complaints(caplog)
    assert told["file"] == str(path)
    assert reason in told["reason"]
    assert following.announcements.problems() == [told]
    path.write_text("10.0.0.1:80: []")
    following.watch.changed()
    assert "a list stands here" in complaints(caplog)[0]["reason"], "another reason is told, too"
    path.write_text("")
    following.watch.changed()
    assert following.told == [{}, {}]
    assert following.announcements.problems() == []
    path.write_text("10.0.0.1:80: []")
    following.watch.changed()
    assert len(complaints(caplog)) == 1, "it was mended meanwhile"


def test_largest_file_is_taken(path: Path) -> None:
    line = f"{ONE}: plaintext\n".encode()
    path.write_bytes(line + b"#" * ((1 << 20) - len(line)))
    assert Following(path).told == [{ONE: "plaintext"}]


def test_byte_order_mark_of_an_editor_is_fine(path: Path) -> None:
    path.write_text(f"{ONE}: plaintext\n", encoding="utf-8-sig")
    assert Following(path).told == [{ONE: "plaintext"}]


def test_directory_in_its_place_is_told(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.unlink()
    path.mkdir()
    following = Following(path)
    assert following.told == [None]
    assert "directory" in complaints(caplog)[0]["reason"].lower()


def test_only_who_owns_looks_and_tells(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    following = Following(path)
    assert caplog.records == [], "it was read before"
    states = [following.watch.running]
    for step in ("start", "stop", "stop", "start"):
        getattr(following.announcements, step)()
        states.append(following.watch.running)
    assert states == [True, True, False, False, True]
    path.write_text(f"{ONE}: tls\n{TWO}: plaintext\n")
    following.watch.changed()
    (record,) = caplog.records
    assert record.getMessage() == "endpoints announce"
    assert vars(record)["fields"] == {"cluster": "app", "file": str(path), "tls": 1}


def test_file_that_is_followed_no_more_is_forgotten_with_what_was_wrong_with_it(path: Path) -> None:
    following = Following(path)
    path.write_text("broken")
    following.watch.changed()
    (kept,) = following.made
    kept.switch.follow(cluster(None))
    following.announcements.follow([kept])
    assert following.told == [None]
    assert following.watch.paths == []
    assert following.announcements.problems() == []


def test_another_file_counts_in_place_of_the_first(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(f"{TWO}: tls")
    following = Following(path)
    following.made[0].switch.follow(cluster(other))
    following.announcements.follow(following.made)
    assert following.told == [{TWO: "tls"}]
    assert following.watch.paths == [str(other)]


# ---- a whole proxy ----


def changed(scene: Changing) -> None:
    """The file did."""
    scene.world.proxy.announcements.read()
    scene.world.settle()


def wanted(scene: Changing) -> list[str]:
    return [one["wanted"] for one in scene.about["endpoints"]]


def test_connections_follow_what_the_file_says(changing: Build, path: Path) -> None:
    path.write_text("")
    scene = changing(encryption=f"{{wanted: follow, announcements: {path}}}")
    client, plain = scene.web()
    assert not plain.secure
    path.write_text(f"{ONE}: tls\n")
    changed(scene)
    scene.ask(client, plain)
    secure = scene.succeed()
    assert secure.secure
    scene.ask(client, secure)
    path.unlink()
    changed(scene)
    scene.ask(client, secure)
    plain = scene.succeed()
    assert not plain.secure
    assert not secure.open
    assert scene.about["settled"]


def test_each_endpoint_is_followed_alone(changing: Build, path: Path) -> None:
    scene = changing(endpoints=f"{ONE}, {TWO}", encryption=f"{{wanted: follow, announcements: {path}}}")
    assert wanted(scene) == ["tls", "plaintext"]
    path.write_text(f"{TWO}: tls\n")
    changed(scene)
    assert wanted(scene) == ["plaintext", "tls"]


def test_endpoint_that_announces_anew_is_tried_at_once(changing: Build, path: Path) -> None:
    scene = changing(encryption=f"{{wanted: follow, retry: 1h, max_retry: 1h, announcements: {path}}}")
    client = scene.world.connect("web")
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    scene.spoiled()
    plain = scene.accepted()
    scene.answer(client, plain)
    path.write_text(f"{ONE}: plaintext\n")
    changed(scene)
    path.write_text(f"{ONE}: tls\n")
    changed(scene)
    scene.ask(client, plain)
    assert scene.succeed().secure


def test_broken_file_leaves_connections_as_they_are(authority: Authority, path: Path) -> None:
    scene = Changing(authority, encryption=f"{{wanted: follow, announcements: {path}}}")
    client, secure = scene.web()
    path.write_text(f"{ONE}: plaintextt\n")
    changed(scene)
    scene.world.wait(STEP)
    assert scene.world.dials == []
    scene.ask(client, secure)
    assert scene.about["settled"]


def test_reload_that_takes_the_file_away_has_the_configuration_count(changing: Build, path: Path) -> None:
    scene = changing(encryption=f"{{wanted: follow, announcements: {path}}}")
    client, secure = scene.web()
    apply(scene.world, scene.configured(encryption="follow"))
    assert wanted(scene) == ["plaintext"]
    scene.ask(client, secure)
    plain = scene.succeed()
    assert not plain.secure
    path.write_text("broken")
    changed(scene)
    assert wanted(scene) == ["plaintext"]


def test_reload_that_names_a_file_has_it_read(changing: Build, path: Path) -> None:
    scene = changing(encryption="follow")
    assert wanted(scene) == ["plaintext"]
    apply(scene.world, scene.configured(encryption=f"{{wanted: follow, announcements: {path}}}"))
    assert wanted(scene) == ["tls"]


def test_mistake_in_the_file_is_no_reason_to_forget_at_an_upgrade(authority: Authority, path: Path) -> None:
    """The next generation cannot read it, and does as the one before."""
    scene = Changing(authority, encryption=f"{{wanted: follow, announcements: {path}}}", endpoints=ONE)
    assert scene.about["endpoints"][0]["wanted"] == "tls"
    path.write_text("broken")
    scene.world.move()
    assert scene.about["endpoints"][0]["wanted"] == "tls"
    path.write_text(f"{ONE}: plaintext")
    scene.world.move()
    assert scene.about["endpoints"][0]["wanted"] == "plaintext"
