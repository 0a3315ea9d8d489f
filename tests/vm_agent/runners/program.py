"""A sidecar in little, quick to start: it serves one line a connection, and speaks sd_notify(3) and sd_listen_fds(3).

    python -I -S -B program.py PORT [WORD ...]

Words: ``silent`` (never ready), ``broken`` (ends before it is ready), ``frail`` (ends when it was given listeners).
What a client sends as one line it does, see `Program.answer`.
"""

import array
import os
import resource
import signal
import socket
import subprocess
import sys


def notify(text: str, *fds: int) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(os.environ["NOTIFY_SOCKET"])
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        sock.sendmsg([text.encode()], rights)


def listener(port: int) -> tuple[socket.socket, bool]:
    """(it, whether it was inherited)."""
    if os.environ.get("LISTEN_PID") == str(os.getpid()):
        for fd in range(3, 3 + int(os.environ["LISTEN_FDS"])):
            sock = socket.socket(fileno=fd)
            if sock.getsockname() == ("127.0.0.1", port):
                os.set_inheritable(fd, False)
                return sock, True
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen(128)
    return sock, False


class Program:
    def __init__(self, port: int, words: list[str]) -> None:
        self.words = words
        self.retired = False
        if "broken" in words:
            sys.exit("no such luck: the configuration is wrong")
        if "taken" in words:
            self.sock, self.inherited = socket.socket(fileno=int(words[-1])), True
        else:
            self.sock, self.inherited = listener(port)
        if self.inherited and "frail" in words:
            sys.exit(7)

    def announce(self) -> None:
        if "silent" not in self.words:
            notify("FDSTORE=1\nFDNAME=lines", self.sock.fileno())
            notify(f"MAINPID={os.getpid()}\nREADY=1\nSTATUS=serves")

    def serve(self) -> None:
        self.announce()
        while not self.retired:
            client, _ = self.sock.accept()
            with client, client.makefile("rw") as file:
                words = file.readline().split()
                if words:
                    file.write(f"{self.answer(words[0], words[1:])}\n")
        self.sock.close()
        signal.signal(signal.SIGUSR2, lambda *_: notify(f"MAINPID={os.getpid()}"))
        while True:
            signal.pause()

    def answer(self, order: str, words: list[str]) -> object:
        match order:
            case "pid":
                return os.getpid()
            case "inherited":
                return self.inherited
            case "variable":
                return os.environ.get(words[0], "")
            case "status":
                with open("/proc/self/status") as file:  # noqa: PTH123  pathlib takes longer to import than the rest
                    return next(line.split(":")[1].strip() for line in file if line.startswith(f"{words[0]}:"))
            case "files":
                return resource.getrlimit(resource.RLIMIT_NOFILE)[0], resource.getrlimit(resource.RLIMIT_CORE)[1]
            case "nice":
                return os.getpriority(os.PRIO_PROCESS, 0)
            case "umask":
                return os.umask(0o077)
            case "notify":
                notify("\n".join(words))
                return "told"
            case "barrier":
                ours, theirs = os.pipe()
                notify("BARRIER=1", theirs)
                os.close(theirs)
                return os.read(ours, 1)  # ends when the other side closed its copy
            case "upgrade":
                return self.upgrade()
            case "stay":  # after SIGTERM
                return signal.signal(signal.SIGTERM, signal.SIG_IGN)
            case "offspring":
                return subprocess.Popen(["sleep", "600"]).pid
        return "what?"

    def upgrade(self) -> int:
        """The successor serves; this process stays until a signal."""
        fd = self.sock.fileno()
        command = [*sys.orig_argv[: sys.orig_argv.index(__file__) + 2], "taken", str(fd)]
        self.retired = True
        return subprocess.Popen([sys.executable, *command[1:]], pass_fds=[fd]).pid


if __name__ == "__main__":
    Program(int(sys.argv[1]), sys.argv[2:]).serve()
