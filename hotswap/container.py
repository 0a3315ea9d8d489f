"""What a generation is told about the container it runs in. The defaults are those of a plain process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from hotswap.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

IfBusy = Literal["exit", "wait"]
AfterHandover = Literal["exit", "idle"]
RestartPolicy = Literal["Always", "OnFailure", "Never"]

EMPTY_VARIABLE: Final = "HOTSWAP_EMPTY"
REVISION_VARIABLES: Final = ("HOTSWAP_REVISION", "SIDECARSET_VERSION")
"""The second is what the SidecarSet of OpenKruise gives its containers."""


class Container(NamedTuple):
    """`revision`: the orchestrator's order of versions, -1 if it gives none; see `hotswap.admission.newer`.

    `if_busy`: while another one takes over, or the owner drains, exit or wait for one's turn. `after_handover`: with
    everything given away, or nothing newer to bring than what serves, exit or stand by (`hotswap.idle`).
    """

    revision: int = -1
    if_busy: IfBusy = "exit"
    after_handover: AfterHandover = "exit"


def is_empty(revision: int | None, environment: Mapping[str, str]) -> bool:
    """Whether this is an empty container: it is there to be replaced, and never serves.

    `revision` None: the environment may tell.
    """
    if revision is None:
        told = next((environment[name] for name in REVISION_VARIABLES if environment.get(name)), "")
        revision = int(told) if told.isascii() and told.isdigit() else -1
    return revision == 0 or environment.get(EMPTY_VARIABLE, "") not in {"", "0"}


def decided(asked: AfterHandover | None, policy: RestartPolicy | None, environment: Mapping[str, str]) -> AfterHandover:
    """What follows a handover. Raises `UsageError` for an exit that would bring the old version back.

    Nothing in a container tells its restart policy. Kubernetes' own default, and the only one of a native sidecar, is
    Always; elsewhere exit 0 ends a container.
    """
    if policy is None and "KUBERNETES_SERVICE_HOST" in environment:
        policy = "Always"
    if policy != "Always":
        return asked or "exit"
    if asked == "exit":
        raise UsageError(
            "--after-handover=exit under the restart policy Always: the container would be started again, and with it "
            "the old version. Use --after-handover=idle; or, if the policy is another one, say so by --restart-policy"
        )
    return "idle"
