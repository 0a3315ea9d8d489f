"""`hotswap run`: one generation of the proxy, in the foreground.

Everything the proxy will ever need is imported by the imports below or, where no configuration asks for it, right
after it began to serve (`proxy.later`): a serving generation imports nothing, so that replacing the installed package
under it is harmless.
"""

from __future__ import annotations

import logging
import os
import re
import resource
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import click

import hotswap
import proxy
import shm_metrics
from hotswap import privileges, spawn
from hotswap.build import fingerprint
from hotswap.cli.containers import MARGIN_SECONDS, container_options
from hotswap.cli.options import Duration, optional_runtime_dir_option
from hotswap.errors import HotswapError, PermissionDenied
from hotswap.generation import Generation
from hotswap.giving_up import tell_owner
from hotswap.handover.rounds import Limits
from hotswap.log import LogFormat, fields, set_up
from hotswap.runtime import default_runtime_dir
from hotswap.settings.problems import InvalidConfig
from proxy import ondemand, protocols
from proxy.admin import admin_routes
from proxy.cli.options import config_option
from proxy.config.loader import load_with_warnings
from proxy.config.reach import capabilities
from proxy.config.tls_files import TlsFiles
from proxy.encryption.control import control_routes
from proxy.kernel import Kernel
from proxy.later import Later
from proxy.plumbing import forbidden
from proxy.server import ProxyServer
from proxy.tls.secrecy import keep_secrets
from proxy.voice import Voice
from shm_metrics.names import segment_name

if TYPE_CHECKING:
    from hotswap.container import Container
    from proxy.config.model import Config

Takeover = Literal["auto", "never", "require", "newer"]
NAME: Final = re.compile(r"""(?m)^name:[ \t]*["']?([A-Za-z0-9][A-Za-z0-9._-]*)""")
LOG_LEVELS = ("debug", "info", "warning", "error")

logger = logging.getLogger(__name__)


@click.command()
@config_option
@optional_runtime_dir_option
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Form of log lines."
)
@click.option(
    "--log-level", type=click.Choice(LOG_LEVELS), default="info", show_default=True, help="Least level logged."
)
@click.option(
    "--takeover",
    type=click.Choice(["auto", "never", "require", "newer"]),
    help="If the name is served already: auto takes over from it, newer only from another build or configuration; "
    "never refuses; require refuses if it is not served.  [default: never on a terminal, else auto]",
)
@click.option(
    "--keeper",
    is_flag=True,
    help="After giving everything to a successor stay as a tiny process, for a supervisor to watch.",
)
@click.option(
    "--drop-privileges",
    is_flag=True,
    help="Give up every capability but those to bind low ports and, if the configuration asks for it, to use addresses "
    "of others.",
)
@click.option("--deadline", type=Duration(), help="For an upgrade.  [default: upgrade.deadline of the configuration]")
@container_options
def run(
    path: Path,
    runtime_dir: Path | None,
    log_format: LogFormat,
    log_level: str,
    takeover: Takeover | None,
    deadline: float | None,
    container: Container,
    grace_period: float | None,
    *,
    keeper: bool,
    drop_privileges: bool,
) -> None:
    """Serve a configuration in the foreground, until SIGTERM or until a successor took over. Logs to standard error."""
    set_up(log_format, log_level)
    raise_open_files()
    bounds = Bounds(deadline, grace_period)
    try:
        config = configuration(path)
        if drop_privileges:
            kept = privileges.drop({"CAP_NET_BIND_SERVICE", *capabilities(config)})
            logger.info("privileges are dropped", extra=fields(kept=",".join(kept) or "none"))
        if runtime_dir is None:
            runtime_dir = default_runtime_dir() if config.runtime_dir is None else Path(config.runtime_dir)
        build = fingerprint([Path(one).parent for one in (hotswap.__file__, proxy.__file__, shm_metrics.__file__)])
        voice = Voice(log_format, log_level, drop_privileges)
        server = served(config, ConfigFile(path, bounds), runtime_dir, (hotswap.__version__, build), voice)
        generation = Generation(
            config.name,
            server,
            runtime_dir=runtime_dir,
            takeover=takeover or usual_takeover(),
            stay_as_keeper=keeper,
            container=container,
            build=build,
            config_id=config.id,
            limits=limits(config, bounds),
            admin=config.admin,
            admin_routes=admin_routes,
            control_routes=control_routes,
            peers=frozenset(config.upgrade.peer_uids),
        )
    except HotswapError as error:
        # Whoever spawned this generation hears of it, or whoever serves meanwhile.
        spawn.report(spawn.inherited_report(), error)
        token = spawn.inherited_token()
        if token or (takeover or usual_takeover()) != "never":
            tell_owner(runtime_dir, name_in(path), error, version=hotswap.__version__, token=token)
        log_failure(error)
        sys.exit(error.exit_code)
    try:
        server.recruit()
        code = generation.run()
    except HotswapError as error:
        if isinstance(error, PermissionDenied):  # before it called: whoever serves has not heard of it
            tell_owner(runtime_dir, config.name, error, version=hotswap.__version__, token=generation.token)
        log_failure(error)
        code = error.exit_code
    sys.exit(code)


def served(config: Config, source: ConfigFile, runtime_dir: Path, build: tuple[str, str], voice: Voice) -> ProxyServer:
    """The server of this configuration: one process, or several."""
    segment, directory = segment_name(config.name, runtime_dir), runtime_dir / config.name
    later = Later((*ondemand.MODULES, *protocols.MODULES))
    if config.workers == 1:
        return ProxyServer(config, source=source, segment=segment, build=build, directory=directory, later=later)
    crew = import_module("proxy.workers.crew").Crew  # 10 ms of a start, for which one process has no use
    made: ProxyServer = crew(
        config, source=source, segment=segment, build=build, directory=directory, later=later, voice=voice
    )
    return made


class Bounds(NamedTuple):
    """What the command line says about times, in seconds."""

    deadline: float | None = None  # of an upgrade
    grace_period: float | None = None  # between SIGTERM and SIGKILL


class ConfigFile:
    """Where the configuration comes from, and comes from again at a reload."""

    def __init__(self, path: Path, bounds: Bounds) -> None:
        self._path = path.absolute()
        self._bounds = bounds

    def read(self) -> Config:
        """As it is now. Raises `ConfigError`."""
        return configuration(self._path)

    def limits(self, config: Config) -> Limits:
        """What follows from it, unless the command line said something else."""
        return limits(config, self._bounds)


def limits(config: Config, bounds: Bounds) -> Limits:
    """The bounds of a handover, on either side of it."""
    upgrade, drain = config.upgrade, config.drain_timeout
    if bounds.grace_period is not None:
        drain = min(drain, max(bounds.grace_period - MARGIN_SECONDS, bounds.grace_period / 2))
    return Limits(
        attempt=bounds.deadline or upgrade.deadline,
        budget=upgrade.downtime_budget,
        rounds=upgrade.max_rounds,
        drain=drain,
        drain_delay=config.drain_delay,
        farewell=upgrade.drain_timeout,
    )


def configuration(path: Path) -> Config:
    """The configuration of this generation; what should be looked at is logged. Raises `ConfigError`."""
    loaded = load_with_warnings(path, forbidden, starting=True, files=TlsFiles(Kernel.wall, keep_secrets))
    for warning in loaded.warnings:
        logger.warning(warning.at(str(path)))
    return loaded.config


def name_in(path: Path) -> str | None:
    """The name that a configuration gives, be it as broken as it may; None if there is none."""
    try:
        found = NAME.search(path.read_text(errors="replace"))
    except OSError:
        return None
    return found[1] if found else None


def log_failure(error: HotswapError) -> None:
    """A line for each thing to mend. The last one alone says enough: it may be all that an orchestrator shows."""
    lines = str(error).splitlines()
    for line in lines:
        logger.error(line)
    if isinstance(error, InvalidConfig):
        logger.error("this configuration cannot be used: %s", lines[0], extra=fields(errors=len(error.problems)))


def usual_takeover() -> Takeover:
    """Somebody who starts a name twice by hand made a mistake; a supervisor that does wants the new one."""
    return "never" if os.isatty(0) else "auto"


def raise_open_files() -> None:
    """As many connections as the system grants: the soft limit is made for programs that use select(2)."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
