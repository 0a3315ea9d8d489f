from __future__ import annotations

from pathlib import Path

import pytest

from vm_agent.errors import ReleaseError
from vm_agent.releases.source import Found, entries, find, require_version, requirements


def put(source: Path, *names: str) -> None:
    for name in names:
        if name.endswith("/"):
            (source / name).mkdir()
        else:
            (source / name).touch()


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["hotswap-1.4.2-py3-none-any.whl"], ["hotswap-1.4.2-py3-none-any.whl"]),
        (["hotswap-1.4.2-1-cp311-cp311-linux_x86_64.whl"], ["hotswap-1.4.2-1-cp311-cp311-linux_x86_64.whl"]),
        (["hotswap-1.4.2.tar.gz"], ["hotswap-1.4.2.tar.gz"]),
        (["hotswap-1.4.2/"], ["hotswap-1.4.2"]),
        (["1.4.2/"], ["1.4.2"]),
        (["edge-proxy-1.4.2/"], ["edge-proxy-1.4.2"]),
        # the order
        (["hotswap-1.4.2/", "1.4.2/", "other-1.4.2-py3-none-any.whl"], ["hotswap-1.4.2"]),
        (["1.4.2/", "other-1.4.2-py3-none-any.whl", "more-1.4.2.tar.gz"], ["1.4.2"]),
        (
            ["1.4.2/", "hotswap-1.4.2/", "hotswap-1.4.2.tar.gz", "hotswap-1.4.2-py3-none-any.whl", "x-1.4.2.tar.gz"],
            ["hotswap-1.4.2-py3-none-any.whl", "hotswap-1.4.2.tar.gz"],
        ),
    ],
)
def test_a_release_is_found_and_the_order_is_the_documented_one(
    source: Path, names: list[str], found: list[str]
) -> None:
    put(
        source,
        *names,
        "hotswap-1.4.3.tar.gz",
        "hotswap-1.4.20-py3-none-any.whl",
        "11.4.2/",
        "click-8.1-py3-none-any.whl",
    )
    release = find(source, "1.4.2")
    assert [*release.files, *([release.directory] if release.directory else [])] == found


@pytest.mark.parametrize("names", [["edge_proxy-1.4.2-py3-none-any.whl"], ["edge_proxy-1.4.2.tar.gz", "more-1.4.2/"]])
def test_another_distribution_is_a_release_where_there_is_none_of_ours(source: Path, names: list[str]) -> None:
    put(source, *names, "edge_proxy-1.4.3.tar.gz", "11.4.2/", "click-8.1-py3-none-any.whl")
    assert find(source, "1.4.2").files == (names[0],)


def test_a_local_version_is_found_by_what_file_names_make_of_it(source: Path) -> None:
    put(source, "hotswap-1.4.2+deb_1-py3-none-any.whl")
    assert find(source, "1.4.2+deb-1").wheels == ("hotswap-1.4.2+deb_1-py3-none-any.whl",)


def test_a_version_need_not_be_a_number_for_a_directory(source: Path) -> None:
    put(source, "hotswap-nightly/", "main/")
    assert find(source, "nightly").directory == "hotswap-nightly"
    assert find(source, "main").directory == "main"


def test_a_missing_release_is_told_with_what_there_is_and_the_nearest(source: Path) -> None:
    put(
        source,
        "hotswap-1.4.1.tar.gz",
        "hotswap-1.3.0-py3-none-any.whl",
        "2.0/",
        "click-8.1-py3-none-any.whl",
        "notes.txt",
    )
    with pytest.raises(ReleaseError, match=r"1\.4\.2 is missing: .* has 1\.3\.0, 1\.4\.1, 2\.0 \(nearest: 1\.4\.1\)"):
        find(source, "1.4.2")


def test_a_long_list_is_cut(source: Path) -> None:
    put(source, *(f"hotswap-1.{number}.tar.gz" for number in range(50)))
    with pytest.raises(ReleaseError, match="and 30 more"):
        find(source, "7")


def test_an_empty_and_a_missing_directory_are_told_apart(source: Path) -> None:
    with pytest.raises(ReleaseError, match="has no wheel, sdist or directory"):
        find(source, "1.4.2")
    with pytest.raises(ReleaseError, match=r"is not a directory.*releases\.source"):
        find(source / "nowhere", "1.4.2")


def test_what_a_release_requires_is_no_release_of_ours(source: Path) -> None:
    put(source, "hotswap-1.4.2-py3-none-any.whl", "jeepney-0.9.0-py3-none-any.whl")
    ignored = r"jeepney-0\.9\.0-py3-none-any\.whl is no hotswap, and does not count beside one$"
    with pytest.raises(ReleaseError, match=rf"^release 0\.9\.0 is missing: .* has 1\.4\.2 \(nearest.*; {ignored}"):
        find(source, "0.9.0")
    put(source, "edge-0.9.0/")
    assert find(source, "0.9.0").directory == "edge-0.9.0"


@pytest.mark.parametrize("names", [["a-1.0-py3-none-any.whl", "b-1.0.tar.gz"], ["a-1.0/", "b-1.0/"]])
def test_an_ambiguous_release_is_refused(source: Path, names: list[str]) -> None:
    put(source, *names)
    with pytest.raises(ReleaseError, match=r"ambiguous.*hotswap-1\.0"):
        find(source, "1.0")


@pytest.mark.parametrize("version", ["", ".", "..", "../1.0", "a/b", ".hidden", "-rf", "1 0", "1\n", "x" * 101, "1\0"])
def test_what_could_lead_elsewhere_is_no_version(source: Path, version: str) -> None:
    with pytest.raises(ReleaseError, match="is no version"):
        find(source, version)
    with pytest.raises(ReleaseError):
        require_version(version)


def test_pip_may_look_into_everything_but_other_versions_of_the_release(source: Path) -> None:
    put(source, "hotswap-1.0.tar.gz", "hotswap-1.1.tar.gz", "click-8.1-py3-none-any.whl", "x-1/", "click.txt")
    assert requirements(entries(source), Found("1.0", "hotswap")) == ["click-8.1-py3-none-any.whl"]
