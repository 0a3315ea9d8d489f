"""What needs a look across the keys of one spec, or of the settings. What needs a look at the machine: `machine`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_agent.spec import model

if TYPE_CHECKING:
    from hotswap.settings.problems import Problems
    from hotswap.settings.reader import Part

TRANSPARENT = ("CAP_NET_ADMIN", "CAP_NET_RAW")
"""Either is enough for IP_TRANSPARENT, ip(7)."""
RESERVED = ("agent.sock",)
"""What the agent has in the runtime directory, where each sidecar has a directory of its name."""


def check_keys(spec: Part, problems: Problems) -> None:
    """Keys of a spec that contradict each other."""
    if spec.value("name") in RESERVED:
        problems.error(*spec.place("name"), f"{spec.value('name')} is the agent's own; write another name")
    run, health, upgrade = (spec.value(name) for name in ("run", "health", "upgrade"))
    if run is not None:
        _limits(run.value("limits"), problems)
    if health is not None:
        _health(health, problems)
    if upgrade is not None and upgrade.value("bake") == 0 and upgrade.value("abort_if") is not None:
        line, key = upgrade.place("abort_if")
        problems.warn(line, key, "without a bake nothing is watched; write bake: 60s")
    _intercept(spec, problems)


def check_settings(agent: Part, problems: Problems) -> None:
    """Keys of the settings that contradict each other."""
    places = {name: agent.value(name) for name in ("specs", "state", "runtime_dir") if agent.value(name)}
    for name, path in places.items():
        other = next(
            (other for other in places if other < name and places[other].rstrip("/") == path.rstrip("/")), None
        )
        if other is not None:
            problems.error(*agent.place(name), f"{path} is {other} as well; write two directories")


def _limits(limits: Part | None, problems: Problems) -> None:
    if limits is None:
        return
    if isinstance(limits.value("memory"), float) and "memory_share" in limits.written:
        problems.error(*limits.place("memory_share"), "memory is a percentage already; remove one of the two")
    score = limits.value("oom_score_adj")
    if score is not None and score < 0:
        problems.warn(
            *limits.place("oom_score_adj"), "the kernel kills the application before it; write a number above 0"
        )


def _health(health: Part, problems: Problems) -> None:
    default = model.Health()
    interval = health.value("interval") if "interval" in health.written else default.interval
    timeout = health.value("timeout") if "timeout" in health.written else default.timeout
    if interval is None or timeout is None or timeout < interval:
        return
    written = "timeout" if "timeout" in health.written else "interval"
    problems.warn(*health.place(written), "a check may take as long as the interval; write a shorter timeout")


def _intercept(spec: Part, problems: Problems) -> None:
    taken: dict[tuple[str, str, int], int] = {}
    run = spec.value("run")
    kept = run.value("capabilities") if run is not None and "capabilities" in run.written else model.Run().capabilities
    for number, rule in enumerate(spec.parts("intercept")):
        if rule.value("mode") == "tproxy" and kept is not None and not set(kept) & set(TRANSPARENT):
            problems.error(
                *rule.place("mode"),
                f"tproxy needs a transparent listener; add {TRANSPARENT[0]} to run.capabilities",
            )
        ports, to = rule.value("ports") or (), rule.value("to")
        if rule.value("mode") == "redirect" and to in ports:
            problems.error(*rule.place("ports"), f"{to} would be led to itself; remove it here, or change to")
        direction, family = rule.value("direction") or "inbound", rule.value("family") or "both"
        for port in ports:
            families = ("ipv4", "ipv6") if family == "both" else (family,)
            before = min(taken.setdefault((direction, one, port), number) for one in families)
            if before != number:
                problems.error(
                    *rule.place("ports"), f"{port} is led elsewhere by intercept[{before}] already; keep one of them"
                )
