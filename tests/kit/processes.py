"""`hotswap run` and its later generations: started, asked, upgraded, made to fail, and ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import yaml

from hotswap.control_client import ControlClient
from hotswap.errors import HotswapError
from hotswap.faults import VARIABLE as FAULTS
from shm_metrics.exposition import CONTENT_TYPES
from shm_metrics.plain import parsed
from tests.kit.companion import ROOT
from tests.kit.offspring import Offspring, kill, run_state, wait_for_end
from tests.kit.waiting import eventually

Config = dict[str, Any]

PATIENCE = 20.0  # seconds for anything that takes a fraction of one


class Plain(yaml.SafeDumper):
    """Writes out again what a configuration holds twice: it may have no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


class Status(msgspec.Struct):
    """What the control socket tells, as far as tests look at it."""

    name: str
    generation: int
    pid: int
    version: str
    state: str
    connections: int
    in_flight: int
    server: dict[str, Any] = {}
    last_upgrade: dict[str, Any] | None = None


class Upgrade(msgspec.Struct):
    """What `hotswap upgrade --json` said and how it ended."""

    exit_code: int
    result: dict[str, Any]
    text: str

    @property
    def message(self) -> str:
        """For people."""
        return str(self.result.get("message", self.text))


class Instance:
    """One name with its runtime directory, from the first generation to the last."""

    def __init__(self, directory: Path, offspring: Offspring, config: Config, tree: Path = ROOT) -> None:
        self.directory = directory
        self.offspring = offspring
        self.config = config
        self.name = str(config["name"])
        self.runtime_dir = Path(config["runtime_dir"])
        self.config_file = directory / f"{self.name}.yaml"
        self.log_file = directory / f"{self.name}.log"
        self.faults_file = directory / f"{self.name}.faults"
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(tree),
            "HOTSWAP_RUNTIME_DIR": str(self.runtime_dir),
            FAULTS: str(self.faults_file),
        }
        self._attempts: list[subprocess.Popen[str]] = []
        self.write_config()

    def write_config(self) -> None:
        """Put `config` into the file that the next generation reads."""
        self.config_file.write_text(yaml.dump(self.config, Dumper=Plain, sort_keys=False))

    def change_config(self) -> None:
        """Give the configuration another meaning, and so another id, that changes nothing else."""
        drain = int(self.config.get("drain_timeout", "30s").removesuffix("s"))
        self.config["drain_timeout"] = f"{drain + 1}s"
        self.write_config()

    # -- generations --------------------------------------------------------------------------------

    def run_arguments(self, *options: str) -> list[str]:
        """What follows the name of the program in the command line of `hotswap run`."""
        return ["run", "-c", str(self.config_file), *options]

    def command(self, *options: str) -> list[str]:
        """The command line of `hotswap run`."""
        return [*hotswap(), *self.run_arguments(*options)]

    def use(self, tree: Path) -> None:
        """Commands from now on use the packages of this tree; generations that run keep theirs."""
        self.environment["PYTHONPATH"] = str(tree)

    def launch(self, *options: str) -> int:
        """Start a generation without waiting for it; its pid."""
        return self.offspring.start(
            self.command(*options), env=self.environment, cwd=self.directory, stderr=self.log_file
        )

    def start(self, *options: str) -> int:
        """Start a generation and wait until it serves; its pid."""
        pid = self.launch(*options)
        self.wait_served_by(pid)
        return pid

    def wait_served_by(self, pid: int) -> Status:
        """Wait until this process answers as the owner."""

        def serving() -> Status | None:
            assert run_state(pid) not in "ZX-", f"process {pid} ended:\n{self.log_tail()}"
            status = self.try_status()
            return status if status and status.pid == pid and status.state == "serving" else None

        status = eventually(serving, within=PATIENCE, what=f"process {pid} serves {self.name}")
        assert status is not None
        return status

    def generations(self) -> list[int]:
        """The pids of all generations that live."""
        return [pid for pid in self.offspring.living() if self._is_generation(pid)]

    def _is_generation(self, pid: int) -> bool:
        try:
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return b"run" in arguments and b"upgrade" not in arguments and str(self.config_file).encode() in arguments

    # -- asking --------------------------------------------------------------------------------------

    def ask(self, path: str) -> dict[str, Any]:
        """GET on the control socket."""
        return ControlClient(self.runtime_dir, self.name, timeout=PATIENCE).get(path)

    def status(self) -> Status:
        """The owner's status. Raises what the control client raises."""
        return msgspec.convert(self.ask("/status"), Status)

    def try_status(self) -> Status | None:
        """The same, or None if nobody answers."""
        try:
            answer = ControlClient(self.runtime_dir, self.name, timeout=1).get("/status")
        except HotswapError:
            return None
        return msgspec.convert(answer, Status)

    def figures(self, metric: str) -> dict[tuple[tuple[str, str], ...], float]:
        """The members of a counter or gauge, by their labels."""
        client = ControlClient(self.runtime_dir, self.name, timeout=PATIENCE)
        families = parsed(client.fetch("/metrics", CONTENT_TYPES["json"]))
        return {
            tuple(zip(shape.labels, one.values, strict=True)): one.cells[0]
            for shape, members in families
            if shape.name == metric
            for one in members
        }

    def connections(self) -> list[dict[str, Any]]:
        """The live ones, as `hotswap connections --json` shows them."""
        found: list[dict[str, Any]] = self.ask("/connections")["connections"]
        return found

    def history(self) -> list[dict[str, Any]]:
        """The chain of generations, oldest first."""
        history: list[dict[str, Any]] = self.ask("/history")["history"]
        return history

    def log_tail(self, lines: int = 60) -> str:
        """The end of what all generations wrote to stderr."""
        if not self.log_file.exists():
            return ""
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-lines:])

    # -- commands ------------------------------------------------------------------------------------

    def hotswap(self, *arguments: str, within: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command of the `hotswap` program."""
        return subprocess.run(
            [*hotswap(), *arguments],
            env={**self.environment, **self.offspring.environment} | self._own_environment(),
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )

    def _own_environment(self) -> dict[str, str]:
        return {name: self.environment[name] for name in ("PYTHONPATH", "HOTSWAP_RUNTIME_DIR", FAULTS)}

    def upgrade(self, *options: str, command: list[str] | None = None, within: float = 60) -> Upgrade:
        """`hotswap upgrade NAME --json`, whatever comes of it."""
        arguments = ["upgrade", self.name, "--json", *options, *(["--", *command] if command else [])]
        return read_upgrade(self.hotswap(*arguments, within=within))

    def start_upgrade(self, *options: str) -> subprocess.Popen[str]:
        """The same without waiting for its end; give it to `finish_upgrade`."""
        return self.start_command("upgrade", self.name, "--json", *options)

    def start_command(self, *arguments: str) -> subprocess.Popen[str]:
        """Run a command of the `hotswap` program, which is ended with the instance if it is not done by then."""
        attempt = subprocess.Popen(
            [*hotswap(), *arguments],
            env={**self.environment, **self.offspring.environment} | self._own_environment(),
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._attempts.append(attempt)
        return attempt

    def close(self) -> None:
        """End the commands that were started and not finished."""
        for attempt in self._attempts:
            attempt.kill()
            attempt.communicate()

    # -- failures ------------------------------------------------------------------------------------

    def arm(self, *faults: str) -> None:
        """The next attempt fails at these points: `source.freeze.before:kill`."""
        self.faults_file.write_text("\n".join(faults) + "\n")

    def disarm(self) -> None:
        """Attempts succeed again."""
        self.faults_file.unlink(missing_ok=True)

    def kill(self, pid: int, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to one generation and, if it is SIGKILL, wait for its end."""
        kill(pid, number)
        if number == signal.SIGKILL:
            wait_for_end(pid, within=PATIENCE)

    def resume(self, pid: int) -> None:
        """SIGCONT, after a stop."""
        kill(pid, signal.SIGCONT)


def hotswap() -> list[str]:
    """The command line of the `hotswap` program of this interpreter."""
    return [sys.executable, str(Path(sys.executable).parent / "hotswap")]


def read_upgrade(finished: subprocess.CompletedProcess[str]) -> Upgrade:
    """Find the result in the JSON lines of an upgrade."""
    result: dict[str, Any] = {}
    for line in finished.stdout.splitlines():
        try:
            event = msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.DecodeError:
            continue
        if event.get("event", "result") == "result":
            result = event
    return Upgrade(finished.returncode, result, finished.stdout + finished.stderr)


def finish_upgrade(upgrade: subprocess.Popen[str], within: float = 60) -> Upgrade:
    """Wait for the end of `Instance.start_upgrade`."""
    out, err = upgrade.communicate(timeout=within)
    return read_upgrade(subprocess.CompletedProcess(upgrade.args, upgrade.returncode, out, err))
