"""Either container is killed at every point of a handover, under load: the outcome is that of two processes."""

from __future__ import annotations

import pytest

from hotswap.handover.states import fault_points
from tests.kit.certificates import Authority
from tests.kit.pod import Pod
from tests.kit.pod_faults import PLACES, Trial

# The destination owns in the end; the source does.
TELLING = {("source.send_final.after", True), ("destination.take_byte.after", False)}
# Nobody is there to be killed: it has left.
NEVER = {"destination.leave.after"}


@pytest.mark.parametrize(
    ("point", "tls"),
    [
        pytest.param(
            point,
            tls,
            id=f"{point}-{'tls' if tls else 'plain'}",
            marks=() if (point, tls) in TELLING else (pytest.mark.all,),
        )
        for point in fault_points()
        if point not in NEVER
        for tls in (False, True)
    ],
)
def test_a_container_is_killed(pod: Pod, authority: Authority, point: str, tls: bool) -> None:
    behind = pod.upstreams(*PLACES, tls=authority.issue("behind") if tls else None)
    trial = Trial(pod, behind, authority if tls else None, point)
    trial.fail()
    trial.verify()
