"""The small broker of `amqp_broker` on a real socket, in a thread: for tests that are to take seconds."""

from __future__ import annotations

import selectors
import socket
import threading
from types import TracebackType
from typing import Self

from tests.kit.amqp_broker import Broker, Session


class Server:
    """A context manager. `broken` is what ended it, if anything did."""

    def __init__(self) -> None:
        self.broker = Broker()
        self.broken: Exception | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        connections: dict[socket.socket, Session] = {}
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            try:
                while True:
                    for key, _ in selector.select():
                        if key.fileobj is self._woken:
                            return
                        if key.fileobj is self._listener:
                            accepted, _ = self._listener.accept()
                            selector.register(accepted, selectors.EVENT_READ)
                            connections[accepted] = self.broker.session()
                        else:
                            assert isinstance(key.fileobj, socket.socket)
                            self._read(key.fileobj, connections, selector)
                    for connection, session in connections.items():
                        connection.sendall(session.take())
            except Exception as error:  # noqa: BLE001 - the test asks for it
                self.broken = error
            finally:
                for connection in connections:
                    connection.close()

    def _read(
        self, connection: socket.socket, connections: dict[socket.socket, Session], selector: selectors.BaseSelector
    ) -> None:
        data = connection.recv(1 << 16)
        session = connections[connection]
        if data:
            session.feed(data)
        if not data or session.closed:
            connection.sendall(session.take())
            if not session.closed:
                session.end()
            selector.unregister(connection)
            del connections[connection]
            connection.close()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wake.send(b"\0")
        self._thread.join(10)
        for one in (self._listener, self._wake, self._woken):
            one.close()
