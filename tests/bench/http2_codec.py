"""What a request of HTTP/2 costs without I/O: our session beside the h2 library, which has the hpack library below it.

    python -m tests.bench.http2_codec [--quick]

Microseconds of CPU a request, the best fifth of rounds in which all take turns. As a server: the head is read, and a
body of 1 KB where there is one; a head and 1 KB are written. As a client: the other way round. Twenty requests come
at a time, as h2load sends them. `repeated`: all heads are the same, and their fields in the tables. `new`: each has
a path and an id of its own. `upload`: a body in both directions.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import h2.config
import h2.connection
import h2.events

from proxy.http2 import frame
from proxy.http2.budget import Limits
from proxy.http2.heads import Head
from proxy.http2.hpack import Decoder, Encoder, Field
from proxy.http2.owner import Owner
from proxy.http2.session import Session
from proxy.http2.settings import Settings

BODY = b"x" * 1024
AT_ONCE = 20
HEAD: list[Field] = [
    (b":method", b"GET"),
    (b":scheme", b"http"),
    (b":authority", b"shop.example:8080"),
    (b":path", b"/api/v1/orders/1234567?limit=50"),
    (b"user-agent", b"h2load nghttp2/1.52.0"),
    (b"accept", b"*/*"),
    (b"accept-encoding", b"gzip, deflate"),
]
ANSWER: list[Field] = [
    (b":status", b"200"),
    (b"server", b"nginx/1.22.1"),
    (b"date", b"Mon, 21 Oct 2030 20:13:21 GMT"),
    (b"content-type", b"application/json"),
    (b"content-length", b"1024"),
    (b"last-modified", b"Mon, 21 Oct 2030 20:13:21 GMT"),
]
WIDE = Settings(streams=1000, window=2**31 - 1, connection=2**31 - 1)
KINDS = ("repeated", "new", "upload")


def request(kind: str, number: int) -> list[Field]:
    """A head."""
    if kind == "new":
        return [*HEAD[:3], (b":path", b"/api/v1/orders/%d" % number), *HEAD[4:], (b"x-request-id", b"%032x" % number)]
    return [(b":method", b"POST"), *HEAD[1:]] if kind == "upload" else HEAD


class Quiet(Owner):
    """An owner that only answers, if it is a server's."""

    session: Session

    def headers(self, stream_id: int, head: Head, end: bool) -> None:
        self._answer(stream_id, end)

    def body(self, stream_id: int, piece: bytes, end: bool) -> None:
        self.session.consumed(stream_id, len(piece))
        self._answer(stream_id, end)

    def _answer(self, stream_id: int, end: bool) -> None:
        if end and self.session.server:
            self.session.send_headers(stream_id, ANSWER, False)
            self.session.send_body(stream_id, BODY, True)


def paired() -> tuple[Session, Session]:
    """A client and a server that know each other."""
    both = []
    for server in (False, True):
        owner = Quiet()
        owner.session = Session(owner, WIDE, Limits(), server=server)
        owner.session.begin()
        both.append(owner.session)
    client, server_session = both
    for _ in range(3):
        server_session.received(client.take(), 0.0)
        client.received(server_session.take(), 0.0)
    return client, server_session


def ask(client: Session, kind: str, number: int) -> None:
    stream_id = client.open()
    client.send_headers(stream_id, request(kind, number), kind != "upload")
    if kind == "upload":
        client.send_body(stream_id, BODY, True)


def talk(kind: str, count: int) -> tuple[list[bytes], list[bytes]]:
    """What a client and a server say, in turns of `AT_ONCE` requests."""
    client, server = paired()
    asked, answered = [], []
    for first in range(0, count, AT_ONCE):
        for number in range(first, first + AT_ONCE):
            ask(client, kind, number)
        asked.append(client.take())
        server.received(asked[-1], 0.0)
        answered.append(server.take())
        client.received(answered[-1], 0.0)
    return asked, answered


def our_server(kind: str, asked: list[bytes], _answered: list[bytes]) -> Callable[[], None]:
    del kind
    _, server = paired()

    def run() -> None:
        for some in asked:
            server.received(some, 0.0)
            server.take()

    return run


def our_client(kind: str, asked: list[bytes], answered: list[bytes]) -> Callable[[], None]:
    del asked
    client, _ = paired()

    def run() -> None:
        number = 0
        for some in answered:
            for _ in range(AT_ONCE):
                ask(client, kind, number)
                number += 1
            client.take()
            client.received(some, 0.0)

    return run


def their(*, client: bool) -> h2.connection.H2Connection:
    one = h2.connection.H2Connection(h2.config.H2Configuration(client_side=client, header_encoding=None))
    one.initiate_connection()
    one.increment_flow_control_window(2**31 - 1 - 65535)
    one.data_to_send()
    settings = frame.settings([(frame.INITIAL_WINDOW_SIZE, 2**31 - 1), (frame.MAX_CONCURRENT_STREAMS, 1000)])
    hello = settings + frame.SETTINGS_ACK + frame.window_update(0, 2**31 - 1 - 65535)
    one.receive_data(hello if client else frame.PREFACE + hello)
    one.data_to_send()
    return one


def their_server(kind: str, asked: list[bytes], _answered: list[bytes]) -> Callable[[], None]:
    del kind
    server = their(client=False)

    def run() -> None:
        for some in asked:
            for event in server.receive_data(some):
                if isinstance(event, h2.events.DataReceived):
                    server.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
                elif isinstance(event, h2.events.StreamEnded):
                    server.send_headers(event.stream_id or 0, ANSWER)
                    server.send_data(event.stream_id or 0, BODY, end_stream=True)
            server.data_to_send()

    return run


def their_client(kind: str, asked: list[bytes], answered: list[bytes]) -> Callable[[], None]:
    del asked
    client = their(client=True)

    def run() -> None:
        number = 0
        for some in answered:
            for _ in range(AT_ONCE):
                stream_id = client.get_next_available_stream_id()
                client.send_headers(stream_id, request(kind, number), end_stream=kind != "upload")
                if kind == "upload":
                    client.send_data(stream_id, BODY, end_stream=True)
                number += 1
            client.data_to_send()
            for event in client.receive_data(some):
                if isinstance(event, h2.events.DataReceived):
                    client.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)

    return run


ROWS: dict[str, Callable[[str, list[bytes], list[bytes]], Callable[[], None]]] = {
    "ours, server": our_server,
    "ours, client": our_client,
    "h2, server": their_server,
    "h2, client": their_client,
}


def heads_only(rounds: int, count: int) -> tuple[float, float]:
    """Reading and writing the repeated head alone, with no memory of whole blocks."""
    encoder, decoder = Encoder(), Decoder()
    decoder.decode(encoder.encode(HEAD), 65536)
    block = encoder.encode(HEAD)
    reads, writes = [], []
    for _ in range(rounds):
        reads.append(clocked(lambda: [decoder.decode(block, 65536) for _ in range(count)]) / count)
        writes.append(clocked(lambda: [encoder.encode(HEAD) for _ in range(count)]) / count)
    return best(reads), best(writes)


def clocked(use: Callable[[], object]) -> float:
    """Microseconds of CPU."""
    began = time.process_time_ns()
    use()
    return (time.process_time_ns() - began) / 1000


def best(costs: list[float]) -> float:
    """The mean of the best fifth."""
    chosen = sorted(costs)[: max(1, len(costs) // 5)]
    return sum(chosen) / len(chosen)


def measure(rounds: int, count: int) -> dict[str, dict[str, float]]:
    """Microseconds a request, by kind and by who."""
    result: dict[str, dict[str, float]] = {}
    for kind in KINDS:
        said = talk(kind, count)
        costs: dict[str, list[float]] = {name: [] for name in ROWS}
        for _ in range(rounds):
            for name, row in ROWS.items():
                costs[name].append(clocked(row(kind, *said)) / count)
        result[kind] = {name: best(some) for name, some in costs.items()}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    result = measure(3 if quick else 15, 400 if quick else 2000)
    print(f"{'us a request':14}", *(f"{kind:>9}" for kind in KINDS))
    for name in ROWS:
        print(f"{name:14}", *(f"{result[kind][name]:9.1f}" for kind in KINDS))
    read, written = heads_only(15, 500)
    print(f"a head alone, in the tables: {read:.2f} us to read, {written:.2f} us to write")


if __name__ == "__main__":
    main()
