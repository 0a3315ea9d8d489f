"""What the operator wants of one sidecar, and of the agent, as frozen values. `keys.py` says how they are written."""

from __future__ import annotations

from typing import Literal

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The sidecar yields to the application: what it may use, and who goes first when there is not enough."""

    memory: int | None = None
    """Bytes, as a hard limit."""
    memory_share: float | None = None
    """The same as a share of the machine's memory, 0 to 1; of both the lower one counts."""
    cpu: float | None = None
    """Cores."""
    cpu_weight: int = 50
    """1 to 10000; everything else on the machine has 100 unless somebody said otherwise."""
    oom_score_adj: int = 500
    """-1000 to 1000: the higher, the sooner the kernel kills it. Applications have 0."""
    open_files: int | None = None


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """As whom, and with what."""

    user: str = ""
    """Empty: the agent's own."""
    limits: Limits = Limits()
    capabilities: tuple[str, ...] = ("CAP_NET_BIND_SERVICE",)
    """What it may keep; everything else is dropped."""
    environment: tuple[tuple[str, str], ...] = ()
    start_timeout: float = 30.0
    """Seconds until it is ready."""
    stop_timeout: float = 60.0
    """Seconds to drain before it is killed."""


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """How to see that it works. Without an answer `failures` times in a row it hangs, and is started anew."""

    http: str = "/ready"
    """A path, asked on the control socket; or a whole http:// URL."""
    interval: float = 2.0
    timeout: float = 1.0
    failures: int = 3


class AbortIf(msgspec.Struct, frozen=True, kw_only=True):
    """What condemns a release in its bake; None: does not count."""

    error_rate: float | None = 0.01
    """Share of failed requests, 0 to 1, above which it is taken back."""
    p99_latency: float | None = None
    """Multiple of the 99th percentile before the upgrade, above which it is taken back."""
    crashes: int | None = 1
    """So many deaths, or bugs that showed."""


class Window(msgspec.Struct, frozen=True):
    """A time of day, in minutes since midnight, local time. `end` before `begin` means over midnight."""

    begin: int
    end: int


class UpgradePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How a new release comes in."""

    bake: float = 60.0
    abort_if: AbortIf = AbortIf()
    min_requests: int = 20
    """Before rates and percentiles say anything."""
    window: Window | None = None
    """None: at any time. An order by hand does not wait for it."""
    timeout: float = 60.0
    """Of one handover."""


class Redirect(msgspec.Struct, frozen=True, kw_only=True):
    """Traffic that is led to a listener of the sidecar."""

    mode: Literal["redirect", "tproxy"]
    ports: tuple[int, ...]
    """Destination ports of the traffic."""
    to: int
    """The port that the sidecar listens on."""
    direction: Literal["inbound", "outbound"] = "inbound"
    exempt_mark: int = 0x4853
    """SO_MARK of the sidecar's own connections, which are never led back to it. Those of `Run.user` are not either."""
    family: Literal["both", "ipv4", "ipv6"] = "both"
    """Of the traffic; each needs a listener at `to`."""


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """One sidecar."""

    name: str
    release: str
    config: str
    """Absolute path."""
    command: tuple[str, ...] = ("bin/hotswap", "run", "-c", "{config}")
    """The program relative to the release's directory; {config}, {name} and {runtime_dir} are filled in."""
    run: Run = Run()
    health: Health = Health()
    upgrade: UpgradePolicy = UpgradePolicy()
    intercept: tuple[Redirect, ...] = ()
    file: str = ""
    """Where it was read from."""


class ReleaseSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where releases come from, and how they are installed."""

    source: str = "/srv/hotswap/releases"
    """A directory with wheels, sdists or directories, and optionally a file SHA256SUMS."""
    python: str = "python3"
    """The interpreter that a release's own environment is made of."""
    index: str = ""
    """Where pip finds dependencies; empty: only in `source`. ``default``: wherever pip is configured to look."""
    keep: int = 3
    """Releases that stay beside those in use."""
    checksums: Literal["required", "if-present"] = "if-present"


class HttpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """For a fleet controller: HTTPS, clients prove themselves by certificate."""

    address: str
    certificate: str
    key: str
    client_ca: str
    allow: tuple[str, ...] = ()
    """Names (SAN) of clients that may give orders; others may only look. Empty: all may whom the CA signed."""


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The agent itself: agent.yaml."""

    specs: str = "/etc/hotswap/sidecars"
    """The directory with one ``*.yaml`` for each sidecar."""
    state: str = "/var/lib/hotswap"
    """Releases, what is remembered of each sidecar, and the history."""
    runtime_dir: str = "/run/hotswap"
    """Where sidecars have their sockets; the agent's own is agent.sock in it."""
    runner: Literal["auto", "systemd", "children"] = "auto"
    releases: ReleaseSettings = ReleaseSettings()
    http: HttpSettings | None = None
    patrol: float = 300.0
    """Seconds between two patrols."""
