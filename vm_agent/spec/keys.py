"""Every key of a spec: its kind, what it is for, and where it stands. `settings_keys.py` has those of the agent.

This table is the only place that knows the keys. The loader reads by it, the JSON Schema and docs/agent-spec.md are
made from it; defaults come from the structs of `model`.
"""

from __future__ import annotations

from hotswap.settings.kinds import Choice, Count, Duration, Name
from hotswap.settings.sections import Form, Items, Key, Section
from vm_agent.spec import model
from vm_agent.spec.elsewhere import ELSEWHERE
from vm_agent.spec.kinds import CHECK, CONFIG, USER, Cores, Factor, Hours, Mark, Memory, OrNever, Release, Share
from vm_agent.spec.lists import Capabilities, Command, Environment, Ports

PAGE = "docs/agent-spec.md"

LIMITS = Section(
    "limits",
    model.Limits,
    "What the sidecar may use, and who goes first when there is not enough: it yields to the application.",
    (
        Key(
            "memory",
            Memory(),
            "Hard limit; a percentage is of the machine's memory. What is beyond it is killed.",
            example="512M",
            absent="no limit",
        ),
        Key(
            "memory_share",
            Share(0.01),
            "A share beside a size in `memory`: the lower of the two counts.",
            example="25%",
            absent="no limit",
        ),
        Key("cpu", Cores(), "Cores, as a hard limit.", example="0.5", absent="no limit"),
        Key(
            "cpu_weight",
            Count(1, 10000),
            "Its part when processors are short; everything else has 100 unless somebody said otherwise.",
        ),
        Key(
            "oom_score_adj",
            Count(-1000, 1000),
            "The higher, the sooner the kernel kills it when memory is short. Applications have 0.",
        ),
        Key("open_files", Count(64, 1 << 20), "Descriptors.", example="65536", absent="as the system has it"),
    ),
)

RUN = Section(
    "run",
    model.Run,
    "As whom it runs, and with what.",
    (
        Key("user", USER, "The user; its groups come with it.", example="hotswap", absent="that of the agent"),
        Key("limits", LIMITS, "See below.", absent="the defaults below"),
        Key("capabilities", Capabilities(), "What it may keep of capabilities(7); everything else is dropped."),
        Key("environment", Environment(), "Variables beside those that it needs.", example="{TZ: UTC}", absent="none"),
        Key("start_timeout", Duration(0.1), "Until it is ready; a start that takes longer has failed."),
        Key("stop_timeout", Duration(0.1), "To drain; after that it is killed."),
    ),
)

HEALTH = Section(
    "health",
    model.Health,
    "How to see that it works. Without any answer so many times in a row it hangs, and is started anew.",
    (
        Key("http", CHECK, "A path, asked on the control socket; or a URL. An answer below 400 is good."),
        Key("interval", Duration(0.1), "From one check to the next."),
        Key("timeout", Duration(), "For the whole check."),
        Key("failures", Count(1, 1000), "So many in a row."),
    ),
)

ABORT_IF = Section(
    "abort_if",
    model.AbortIf,
    "What condemns a release in its bake: it is taken back. `never` takes no notice.",
    (
        Key("error_rate", OrNever(Share()), "More of the requests failed than this."),
        Key(
            "p99_latency",
            OrNever(Factor()),
            "The 99th percentile is above this multiple of that before the upgrade.",
            example="2x",
            absent="`never`",
        ),
        Key("crashes", OrNever(Count(1, 1000)), "So many deaths, or bugs that showed."),
    ),
)

UPGRADE = Section(
    "upgrade",
    model.UpgradePolicy,
    "How a new release comes in, and when it goes back by itself.",
    (
        Key("bake", Duration(0.0), "How long it is watched before it counts as good."),
        Key("abort_if", ABORT_IF, "See below.", absent="the defaults below"),
        Key("min_requests", Count(0, 10**9), "So many requests, before rates and percentiles say anything."),
        Key(
            "window",
            Hours(),
            "When upgrades may begin, local time; over midnight as well. An order by hand does not wait.",
            example='"02:00-05:00"',
            absent="at any time",
        ),
        Key("timeout", Duration(1.0), "For one handover."),
    ),
)

REDIRECT = Section(
    "interception",
    model.Redirect,
    "Traffic that the kernel leads to a listener of the sidecar. The rules stay as they are in an upgrade.",
    (
        Key(
            "mode",
            Choice(("redirect", "tproxy")),
            "`redirect` changes the destination (nft redirect), `tproxy` keeps it and needs a transparent listener.",
            required=True,
            example="redirect",
        ),
        Key("ports", Ports(), "Destination ports of the traffic.", required=True, example="[80, 443]"),
        Key("to", Count(1, 65535), "The port that the sidecar listens on.", required=True, example="15001"),
        Key("direction", Choice(("inbound", "outbound")), "Towards this machine, or from its applications."),
        Key(
            "exempt_mark",
            Mark(),
            "SO_MARK of the sidecar's own connections, which are never led back to it; nor are those of `run.user`.",
        ),
        Key("family", Choice(("both", "ipv4", "ipv6")), "Of the traffic; for each there has to be a listener at `to`."),
    ),
)

SPEC = Section(
    "spec",
    model.Spec,
    "One sidecar.",
    (
        Key(
            "name",
            Name(),
            "Its name, the one in its configuration; no two specs share one. It is in the name of its unit and "
            "directories.",
            required=True,
            example="edge",
        ),
        Key(
            "release",
            Release(),
            "The version to run, taken literally: `1.10` is not `1.1`. Changing it is an upgrade.",
            required=True,
            example="1.4.2",
        ),
        Key(
            "config",
            CONFIG,
            "Its configuration; relative to the directory of the spec. A file beside the spec is not taken for one.",
            required=True,
            example="edge.yaml",
        ),
        Key(
            "command",
            Command(),
            "The program, in the directory of the release, and its arguments. `{config}`, `{name}` and `{runtime_dir}` "
            "are filled in.",
        ),
        Key("run", RUN, "See below.", absent="the defaults below"),
        Key("health", HEALTH, "See below.", absent="the defaults below"),
        Key("upgrade", UPGRADE, "See below.", absent="the defaults below"),
        Key("intercept", Items(REDIRECT), "Traffic that is led to it, see below.", absent="none"),
    ),
)

SECTIONS = (SPEC, RUN, LIMITS, HEALTH, UPGRADE, ABORT_IF, REDIRECT)

FORM = Form(SPEC, PAGE, ELSEWHERE)
