"""The fault matrix across containers: one is removed at a fault point, and the outcome is that of `tests.kit.faults`.

The PID 1 of a PID namespace cannot kill itself: the kernel ignores it, pid_namespaces(7). So it hangs at the point and
says so, and then the container is killed from outside, long before any deadline that such a hang could pass.

A container is not spawned by the generation that it takes over from, and no command orders a dry run of it, so
some points are passed on other ways.
"""

from __future__ import annotations

import msgspec

from tests.kit.certificates import Authority
from tests.kit.faults import KILLED, REFUSED, TAKEN_BACK, Outcome, Way, action_of, outcome_of, verify_losses, way_to
from tests.kit.pod import Container, Pod
from tests.kit.processes import PATIENCE, Config
from tests.kit.rounds import REMOVED
from tests.kit.stage import BREEZE, Edge
from tests.kit.upstreams import Kind, Upstreams
from tests.kit.waiting import eventually

PLACES: tuple[tuple[Kind, str], ...] = (("http", "127.0.0.1:0"), ("tcp", "127.0.0.1:0"), ("bolt", "127.0.0.1:0"))
FEW = 100  # open files: too few to take over, enough for the same clients after a start from nothing
AMPLE = "30s"
PLAN = msgspec.structs.replace(BREEZE, bolt_calls=4, bolt_rate=40, stream_seconds=1, upload_pause=0.5)

# The destination is gone by then, as it raised.
WAYS: dict[str, Way] = {
    "source.put_abort": TAKEN_BACK,
    "source.end_destination": TAKEN_BACK,
    "destination.leave": REFUSED,
}
OUTCOMES: dict[str, tuple[Outcome, Outcome]] = {
    **KILLED,
    "source.put_abort": (Outcome.NOBODY, Outcome.NOBODY),
    "destination.leave": (Outcome.UNDONE, Outcome.UNDONE),
}


class Trial:
    """One takeover, from container A to B, that fails at one point."""

    def __init__(self, pod: Pod, upstreams: Upstreams, authority: Authority | None, point: str) -> None:
        self.pod = pod
        self.point = point
        self.way = WAYS.get(action_of(point), way_to(point))
        self.outcome = outcome_of(OUTCOMES, point)
        self.upstreams = upstreams
        self.wrong_before = len(upstreams.record().wrong)
        self.edge = Edge(pod, upstreams, authority=authority, upgrade={"deadline": AMPLE})
        self.source = pod.run("a")
        pod.wait_served_by(self.source)
        calls = 0 if self.way.few_files else 4  # the few are spoken for
        self.load = self.edge.load(msgspec.structs.replace(PLAN, bolt=calls, reconnect=not self.outcome.keeps))

    def fail(self) -> None:
        """Start the destination, and remove each container that is to fail."""
        faults = [fault.replace(":kill", ":hang") for fault in self.way.faults]
        self.edge.instance.arm(*faults, f"{self.point}:hang")
        through = ("prlimit", f"--nofile={FEW}") if self.way.few_files else ()
        self.destination = self.pod.run("b", "--takeover=auto", config=self._conflict(), through=through)
        for fault in [*faults, f"{self.point}:hang"]:
            point, _, failure = fault.partition(":")
            if failure == "hang":
                victim = self.source if point.startswith("source") else self.destination
                victim.wait_said(f"point={point}")
                assert victim.kill() == REMOVED
        self.edge.instance.disarm()

    def _conflict(self) -> Config | None:
        """A configuration that wants an address which is taken, if that is the way."""
        usual = self.edge.instance.config
        taken = {"name": "more", "address": self.upstreams.addresses[0], "protocol": "tcp", "cluster": "db"}
        return {**usual, "listeners": [*usual["listeners"], taken]} if self.way.conflict else None

    def verify(self) -> None:
        """The outcome is as the table says, and everything works again."""
        owner = self._owner()
        self._verify_losses()
        assert self.load.turn().of_cause("silent") == []
        if self.way.few_files and owner is self.destination:
            return  # it still may open too few
        again = self.pod.run("d", "--takeover=require")
        self.pod.wait_served_by(again)
        assert owner.status(within=PATIENCE) == 0, owner.log_tail()
        self._verify_losses()

    def _owner(self) -> Container:
        pod, both = self.pod, [self.source, self.destination]
        if self.outcome is Outcome.NOBODY:
            for one in both:
                one.status(within=PATIENCE)
            assert pod.owner() is None
            owner = pod.run("c")
            pod.wait_served_by(owner)
            return owner
        found = eventually(pod.owner, within=PATIENCE, what="somebody owns")
        assert found is not None
        (owner,) = [one for one in both if one.running]
        assert found is owner
        if self.outcome in {Outcome.UNDONE, Outcome.REHEARSED}:
            assert owner is self.source
        elif self.outcome in {Outcome.MOVED, Outcome.RESTARTED}:
            assert owner is self.destination
        return owner

    def _verify_losses(self) -> None:
        verify_losses(self.outcome, self.load, self.upstreams, self.wrong_before)
