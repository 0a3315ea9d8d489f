"""`hotswap-agent check`: are these settings and specs usable? Asks no agent."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from hotswap.cli.output import count, print_json
from hotswap.errors import ConfigError
from hotswap.settings.problems import Problem
from vm_agent.cli.options import SETTINGS, json_option, settings_of, settings_option
from vm_agent.errors import ReleaseError, SpecError
from vm_agent.releases.store import Releases
from vm_agent.spec.loader import load_spec_with_warnings, load_specs
from vm_agent.spec.machine import check_spec
from vm_agent.spec.model import AgentSettings, Spec


class Report(msgspec.Struct, kw_only=True):
    """What is to be said of one file."""

    file: str
    ok: bool = True
    text: str = ""
    errors: list[str] = []
    warnings: list[str] = []

    def fail(self, error: Exception) -> None:
        """It cannot be used."""
        self.ok = False
        self.errors = [*self.errors, *str(error).splitlines()]


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@settings_option
@json_option
def check(files: tuple[Path, ...], settings: Path | None, *, as_json: bool) -> None:
    """Check specs and settings without applying them.

    Every error is told with its line, key and remedy. Without FILES the settings and every spec in their directory are
    checked. Exit code 0 if all can be used (also with warnings), 21 if not. A directory stands for the specs in it.
    """
    reports = [*(_of_files(files, settings) if files else _of_settings(settings, specs=True))]
    ok = all(report.ok for report in reports)
    if as_json:
        print_json({"ok": ok, "files": reports})
    else:
        for report in reports:
            _tell(report)
    sys.exit(0 if ok else SpecError.exit_code)


def _of_files(files: tuple[Path, ...], settings: Path | None) -> Iterator[Report]:
    if settings is not None:
        yield from _of_settings(settings, specs=False)
    releases = _releases(settings)
    names: dict[str, str] = {}
    for path in files:
        if path.is_dir():
            yield from _of_directory(path, releases)
            continue
        report = Report(file=str(path))
        spec = _look(path, report, releases)
        if spec is not None:
            other = names.setdefault(spec.name, str(path))
            if other != str(path):
                report.fail(SpecError(f"{path}: name: {spec.name} is the name in {other} as well; give each its own"))
        yield report


def _of_settings(path: Path | None, *, specs: bool) -> Iterator[Report]:
    report = Report(file=str(path or SETTINGS))
    settings: AgentSettings | None = None
    try:
        settings = settings_of(path)
        report.text = "settings" if path is not None or SETTINGS.exists() else "not there: all defaults"
        if settings.http is not None:
            from vm_agent.https import context_of  # noqa: PLC0415  few have HTTPS

            context_of(settings.http)
    except (SpecError, ConfigError) as error:
        report.fail(error)
    yield report
    if specs and settings is not None:
        yield from _of_directory(Path(settings.specs), Releases(Path(settings.state), settings.releases))


def _releases(path: Path | None) -> Releases | None:
    """Those of this machine's agent; None if it has none: then it is another one that needs them."""
    try:
        settings = settings_of(path)
    except SpecError:
        return None
    if path is None and not SETTINGS.exists() and not Path(settings.releases.source).is_dir():
        return None
    return Releases(Path(settings.state), settings.releases)


def _of_directory(directory: Path, releases: Releases | None) -> Iterator[Report]:
    try:
        specs, broken = load_specs(directory)
    except SpecError as error:
        report = Report(file=str(directory))
        report.fail(error)
        yield report
        return
    reports = []
    for spec in specs.values():
        reports.append(Report(file=spec.file))
        _look(Path(spec.file), reports[-1], releases)
    for file, wrong in broken.items():
        reports.append(Report(file=file))
        reports[-1].fail(wrong)
    yield from sorted(reports, key=lambda report: report.file)
    if not reports:
        yield Report(file=str(directory), text="no specs")


def _look(path: Path, report: Report, releases: Releases | None) -> Spec | None:
    try:
        loaded = load_spec_with_warnings(path)
    except SpecError as error:
        report.fail(error)
        return None
    spec = loaded.spec
    report.warnings = list(loaded.warnings)
    try:
        if releases is not None:
            releases.require(spec.release)
    except (ReleaseError, OSError) as error:
        report.warnings.append(Problem(*loaded.part.place("release"), str(error)).at(spec.file))
    report.text = f"{spec.name}, release {spec.release}"
    try:
        check_spec(spec)
    except SpecError as error:
        report.fail(error)
    return spec


def _tell(report: Report) -> None:
    for error in report.errors:
        click.echo(error, err=True)
    for warning in report.warnings:
        click.echo(f"warning: {warning}", err=True)
    if report.ok:
        click.echo(f"{report.file}: ok: {report.text}")
    else:
        click.echo(f"{report.file}: {count(len(report.errors), 'error')}", err=True)
