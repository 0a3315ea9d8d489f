"""What is said in a storm, by protocol, and what of it must be heard."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from tests.kit import bolt
from tests.proxy.bolt.scene import V1
from tests.proxy.tls.storm import Storm
from tests.proxy.tls.wire import Plain

if TYPE_CHECKING:
    from tests.proxy.simulation import Socket
    from tests.proxy.tls.storm import Side

LENGTHS = (1, 10, 300, 20_000, 70_000, 200_000)


def content(number: int) -> bytes:
    """Of a message with this number."""
    random = Random(number)
    return random.randbytes(random.choice(LENGTHS[:5]))


class Relayed(Storm):
    """One client and one endpoint, of which either says what it likes when it likes."""

    def ask(self, client: Side) -> None:
        client.say(self.random.randbytes(self.random.choice(LENGTHS)))

    def answer(self, server: Side) -> None:
        self.ask(server)

    def ending(self) -> list[Side]:
        return self.sides()

    def dialled(self, socket: Socket) -> None:
        """What was dialled before is given up, with nothing that came of it."""
        for former in self.servers:
            assert former.end.plain == b""
            assert former.wire.socket.ended
        super().dialled(socket)

    def check(self) -> None:
        (client,) = self.clients
        if not self.servers:
            assert self.broken, "it was never dialled"
            return
        server = self.servers[-1]
        damaged = self.permissive and self.broken and not client.done  # may have been taken for plaintext
        assert client.sent.startswith(server.end.plain) or damaged
        assert server.sent.startswith(client.end.plain)
        if self.broken:
            return
        assert client.sent == server.end.plain
        assert server.sent == client.end.plain
        for one, other in ((client, server), (server, client)):
            assert other.wire.socket.ended is one.closing
            assert other.end.ended is (one.closing and (one.whole or isinstance(other.end, Plain)))


class Asked(Storm):
    """Requests of HTTP/1.1, pipelined, each with a number; the answer's body is that of the request, reversed."""

    protocol = "http1"

    def ask(self, client: Side) -> None:
        client.asked += 1
        body = content(client.asked)
        head = f"POST /{client.asked} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
        client.say(head.encode() + body)

    def answer(self, server: Side) -> None:
        """The next portion of what it owes, or the next answer."""
        server.pull()
        if not server.owes:
            request = cut_message(server.end.plain, server.read)
            if request is None:
                return
            head, body, server.read = request
            assert body == content(int(head.split(b" ")[1][1:]))
            server.owes = self._answer(body[::-1])
        server.say(server.owes.pop(0))

    def _answer(self, body: bytes) -> list[bytes]:
        """In portions."""
        way = self.random.choice(("length", "chunked"))
        at = self.random.randint(0, len(body))
        pieces = [piece for piece in (body[:at], body[at:]) if piece]
        if way == "length":
            return [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), *pieces]
        chunks = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces]
        return [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *chunks, b"0\r\n\r\n"]

    def finish(self, server: Side) -> None:
        before = -1
        while before != len(server.sent):
            before = len(server.sent)
            self.answer(server)

    def check(self) -> None:
        (client,) = self.clients
        answers, at = [], 0
        while (message := cut_message(client.end.plain, at)) is not None:
            head, body, at = message
            assert head.startswith(b"HTTP/1.1 200 ")
            answers.append(body)
        expected = [content(number)[::-1] for number in range(1, client.asked + 1)]
        if self.broken:
            assert answers == expected[: len(answers)]
        elif client.done:
            assert answers == expected
            assert at == len(client.end.plain)
            assert client.wire.socket.ended is client.closing
            assert client.end.ended is client.closing or client.slow  # a goodbye may find no room at the very end


def cut_message(stream: bytes, at: int) -> tuple[bytes, bytes, int] | None:
    """Head and body of the message that begins there, and where it ends; None: it is not complete."""
    end = stream.find(b"\r\n\r\n", at)
    if end < 0:
        return None
    head, at = stream[at:end], end + 4
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    if b"content-length" in fields:
        end = at + int(fields[b"content-length"])
        return (head, stream[at:end], end) if end <= len(stream) else None
    body = b""
    while True:
        end = stream.find(b"\r\n", at)
        if end < 0:
            return None
        size = int(stream[at:end], 16)
        at = end + 2 + size + 2
        if at > len(stream):
            return None
        if not size:
            return head, body, at
        body += stream[end + 2 : end + 2 + size]


class Called(Storm):
    """Calls of several clients on one connection to the endpoint, answered in any order."""

    protocol = "bolt"

    def ask(self, client: Side) -> None:
        client.asked += 1
        client.say(bolt.call(V1, client.asked, content(client.asked)))

    def answer(self, server: Side) -> None:
        server.pull()
        calls = [frame for frame in frames(server) if frame.type == bolt.REQUEST]
        for frame in calls[server.read :]:
            server.owes.append(bolt.answer(V1, frame.id, frame.content[::-1]))
        server.read = len(calls)
        if server.owes:
            server.say(server.owes.pop(self.random.randrange(len(server.owes))))

    def finish(self, server: Side) -> None:
        self.answer(server)
        while server.owes:
            self.answer(server)

    def check(self) -> None:
        for client in self.clients:
            answers = {frame.id: (frame.timeout, frame.content) for frame in frames(client)}
            assert len(answers) == len(frames(client)), "an answer came twice"
            expected = {number: (0, content(number)[::-1]) for number in range(1, client.asked + 1)}
            if self.broken:
                served = {number: answer for number, answer in answers.items() if answer[0] == 0}
                assert served.items() <= expected.items()
            elif client.done:
                assert answers == expected
                assert client.wire.socket.ended is client.closing
                assert client.end.ended is client.closing


def frames(side: Side) -> list[bolt.Frame]:
    return bolt.FrameReader().feed(side.end.plain)
