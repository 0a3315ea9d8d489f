from __future__ import annotations

import pytest

from hotswap.container import decided, is_empty
from hotswap.errors import UsageError

KUBERNETES = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}


@pytest.mark.parametrize(
    ("revision", "environment", "empty"),
    [
        (None, {}, False),
        (0, {}, True),
        (7, {}, False),
        (7, {"HOTSWAP_EMPTY": "1"}, True),
        (None, {"HOTSWAP_EMPTY": "0"}, False),
        (None, {"SIDECARSET_VERSION": "0"}, True),
        (None, {"SIDECARSET_VERSION": "41"}, False),
        (None, {"SIDECARSET_VERSION": ""}, False),
        (None, {"HOTSWAP_REVISION": "3", "SIDECARSET_VERSION": "0"}, False),
        (None, {"SIDECARSET_VERSION": "none"}, False),
    ],
)
def test_an_empty_container_is_told_by_its_image_or_its_revision(
    revision: int | None, environment: dict[str, str], empty: bool
) -> None:
    assert is_empty(revision, environment) is empty


def test_elsewhere_it_exits_unless_it_is_told_to_stay() -> None:
    assert decided(None, None, {}) == "exit"
    assert decided("idle", None, {}) == "idle"
    assert decided(None, "OnFailure", KUBERNETES) == "exit"
    assert decided("exit", "Never", KUBERNETES) == "exit"


def test_where_it_would_be_started_again_it_stays() -> None:
    assert decided(None, "Always", {}) == "idle"
    assert decided(None, None, KUBERNETES) == "idle"
    assert decided("idle", None, KUBERNETES) == "idle"


def test_an_exit_that_brings_the_old_version_back_is_refused_and_explained() -> None:
    for policy, environment in (("Always", {}), (None, KUBERNETES)):
        with pytest.raises(UsageError, match=r"started again, and with it the old version.*--after-handover=idle"):
            decided("exit", policy, environment)  # type: ignore[arg-type]
