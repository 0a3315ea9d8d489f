"""Every key of the agent's settings. See `keys`."""

from __future__ import annotations

import re

from hotswap.settings.kinds import DIRECTORY, Choice, Count, Duration, TextList
from hotswap.settings.sections import Form, Key, Section
from vm_agent.spec import model
from vm_agent.spec.elsewhere import ELSEWHERE
from vm_agent.spec.keys import PAGE
from vm_agent.spec.kinds import CERTIFICATE, INDEX, PROGRAM, SOURCE, HttpAddress

RELEASES = Section(
    "releases",
    model.ReleaseSettings,
    "Where releases come from, and how they are installed.",
    (
        Key("source", SOURCE, "A directory with wheels, sdists or directories, and perhaps a file SHA256SUMS."),
        Key("python", PROGRAM, "The interpreter that a release's own environment is made of."),
        Key(
            "index",
            INDEX,
            "Where pip finds dependencies; `default` is wherever pip is configured to look.",
            example="default",
            absent="only in `source`",
        ),
        Key("keep", Count(0, 1000), "Releases that stay beside those in use, for going back."),
        Key(
            "checksums",
            Choice(("required", "if-present")),
            "`required` installs nothing that is not in SHA256SUMS; `if-present` compares where there is that file.",
        ),
    ),
)

HTTP = Section(
    "http",
    model.HttpSettings,
    "HTTPS for a fleet controller, whose certificate says who it is.",
    (
        Key("address", HttpAddress(), "Where it listens.", required=True, example="0.0.0.0:9443"),
        Key("certificate", CERTIFICATE, "The agent's chain, PEM.", required=True, example="/etc/hotswap/agent.pem"),
        Key("key", CERTIFICATE, "The key of it.", required=True, example="/etc/hotswap/agent.key"),
        Key("client_ca", CERTIFICATE, "Who signs clients.", required=True, example="/etc/hotswap/fleet-ca.pem"),
        Key(
            "allow",
            TextList("list of names", "names such as controller.example.com", re.compile(r"[!-~]{1,253}")),
            "Names (SAN) of clients that may give orders; others may only look.",
            example="[controller.example.com]",
            absent="every client that the CA signed",
        ),
    ),
)

SETTINGS = Section(
    "agent",
    model.AgentSettings,
    "The agent itself. Every key can be left out, and so can the file.",
    (
        Key("specs", DIRECTORY, "The directory with one `*.yaml` for each sidecar. It is watched."),
        Key("state", DIRECTORY, "Releases, what is remembered of each sidecar, and the history."),
        Key("runtime_dir", DIRECTORY, "Where sidecars have their sockets; the agent's own is `agent.sock` in it."),
        Key(
            "runner",
            Choice(("auto", "systemd", "children")),
            "What sidecars run under: units of systemd, or the agent itself; `auto`: systemd where it is.",
        ),
        Key("releases", RELEASES, "See below.", absent="the defaults below"),
        Key("http", HTTP, "See below.", absent="only on `agent.sock`"),
        Key("patrol", Duration(1.0), "From one patrol to the next."),
    ),
)

SETTINGS_SECTIONS = (SETTINGS, RELEASES, HTTP)

SETTINGS_FORM = Form(SETTINGS, PAGE, ELSEWHERE)
