"""A line server that keeps its clients: run `echo_server.py 127.0.0.1:7000`, and run it again to replace it."""

import asyncio
import contextlib
import os
import select
import socket
import sys
from pathlib import Path

import msgspec

from hotswap import Address, Generation, ListenerSpec, Saved, Schema, Server


class State(msgspec.Struct, array_like=True):
    """A connection as a value: everything about it that the kernel does not hold."""

    unread: bytes = b""
    unsent: bytes = b""
    lines: int = 0


class Line:
    kind = "line"
    def __init__(self, serial, fd): self.serial, self.fd, self.changes, self.state = serial, fd, 0, State()
    def save(self, now): return msgspec.msgpack.encode(self.state)


class EchoServer(Server):
    def __init__(self, address: str) -> None:
        self.spec = ListenerSpec("lines", Address.parse(address))
        self.epoll, self.lines, self.by_fd = select.epoll(), {}, {}
        self.next_serial = self.total = 0

    def schemas(self): return {"line": Schema(1, 1)}
    def wanted(self): return [self.spec]
    def values(self): return self.lines
    def adopt(self, listeners): self.listener = socket.socket(fileno=listeners["lines"])
    def save_shared(self, now): return msgspec.msgpack.encode((self.next_serial, self.total))
    def restore_shared(self, state, now): self.next_serial, self.total = msgspec.msgpack.decode(state)
    def freeze(self): asyncio.get_running_loop().remove_reader(self.epoll)
    def thaw(self): asyncio.get_running_loop().add_reader(self.epoll, self.tick)
    def forget(self, serial): self.remove(self.lines[serial])
    def status(self): return {"lines": self.total}

    def restore(self, saved: Saved, now: float) -> None:
        line = self.lines.get(saved.serial) or self.add(saved.serial, saved.fd)
        line.state, line.changes = msgspec.msgpack.decode(saved.state, type=State), saved.changes

    def start(self) -> None:
        self.epoll.register(self.listener, select.EPOLLIN)
        self.thaw()

    def add(self, serial: int, fd: int) -> Line:
        line = self.lines[serial] = self.by_fd[fd] = Line(serial, fd)
        self.epoll.register(fd, select.EPOLLIN)
        return line

    def remove(self, line: Line) -> None:
        self.epoll.unregister(line.fd)  # before close: a copy of the fd elsewhere would keep it registered
        del self.lines[line.serial], self.by_fd[line.fd]
        os.close(line.fd)

    def tick(self) -> None:
        for fd, _ in self.epoll.poll(0):
            if line := self.by_fd.get(fd):
                self.serve(line)
            else:
                client, _ = self.listener.accept()
                client.setblocking(False)
                self.next_serial += 1
                self.add(self.next_serial, client.detach())

    def serve(self, line: Line) -> None:
        state, line.changes = line.state, line.changes + 1
        try:
            data = b"" if state.unsent else os.read(line.fd, 4096)
            *whole, state.unread = (state.unread + data).split(b"\n")
            for text in whole:
                state.lines += 1
                self.total += 1
                state.unsent += b"%d of %d: %b\n" % (state.lines, self.total, text)
            ended = not data and not state.unsent
            state.unsent = state.unsent[os.write(line.fd, state.unsent):] if state.unsent else b""
        except OSError as error:
            ended = not isinstance(error, BlockingIOError)
        if not ended:
            return self.epoll.modify(line.fd, select.EPOLLOUT if state.unsent else select.EPOLLIN)
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(line.fd)) as sock:
            sock.shutdown(socket.SHUT_RDWR)  # close alone says nothing while another process has a copy
        return self.remove(line)


if __name__ == "__main__":
    sys.exit(Generation("echo", EchoServer(sys.argv[1]), runtime_dir=Path(os.environ.get("ECHO_DIR", "/tmp/echo"))).run())
