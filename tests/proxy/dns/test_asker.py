"""Lookups over real sockets: servers that are dead, lie, or cut their answer short; files that change."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from hotswap.address import Address
from proxy.config.model import DnsConfig
from proxy.dns.answer import Failed, Found
from proxy.dns.asker import Files, NetworkAsker, SystemFile, look_up, setup
from proxy.dns.message import A
from proxy.dns.names import Outcomes
from tests.kit.ports import loopback
from tests.proxy.dns.test_message import POINTER, record, reply

GOOD = reply(record(POINTER, A, b"\x0a\0\0\1"))
PATIENCE = 10.0


def files(directory: Path) -> Files:
    return Files(SystemFile(directory / "resolv.conf"), SystemFile(directory / "hosts"))


def numbered(message: bytes, query: bytes, plus: int = 0) -> bytes:
    return struct.pack("!H", (struct.unpack_from("!H", query)[0] + plus) & 0xFFFF) + message[2:]


@contextlib.asynccontextmanager
async def server(by_udp: Callable[[bytes], list[bytes]]) -> AsyncIterator[Address]:
    """Answers datagrams as told; over TCP it gives the good answer."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.setblocking(False)

    async def by_tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        query = (await reader.readexactly(2 + 26))[2:]
        writer.write(struct.pack("!H", len(GOOD)) + numbered(GOOD, query))
        writer.close()

    tcp = await asyncio.start_server(by_tcp, "127.0.0.1", 0)
    port = tcp.sockets[0].getsockname()[1]
    udp.bind(("127.0.0.1", port))

    def readable() -> None:
        query, remote = udp.recvfrom(600)
        for message in by_udp(query):
            udp.sendto(message, remote)

    asyncio.get_running_loop().add_reader(udp, readable)
    try:
        yield Address.parse(f"127.0.0.1:{port}")
    finally:
        asyncio.get_running_loop().remove_reader(udp)
        udp.close()
        tcp.close()


async def asked(directory: Path, by_udp: Callable[[bytes], list[bytes]], *before: str) -> Outcomes:
    async with server(by_udp) as address:
        servers = (*(Address.parse(one) for one in before), address)
        config = DnsConfig(nameservers=servers, timeout=0.2)
        return await asyncio.wait_for(look_up("app.test.", "ipv4", config, files(directory)), PATIENCE)


def test_a_dead_server_leads_to_the_next(tmp_path: Path) -> None:
    outcomes = asyncio.run(asked(tmp_path, lambda query: [numbered(GOOD, query)], loopback()))
    assert outcomes == {A: Found(("10.0.0.1",), 60)}


def test_a_wrong_id_is_waited_out(tmp_path: Path) -> None:
    forged = GOOD[:-4] + b"\x0a\0\0\x66"
    lies = asyncio.run(asked(tmp_path, lambda query: [numbered(forged, query, 1), numbered(GOOD, query)]))
    assert lies == {A: Found(("10.0.0.1",), 60)}


def test_a_truncated_answer_is_asked_for_over_tcp(tmp_path: Path) -> None:
    outcomes = asyncio.run(asked(tmp_path, lambda query: [numbered(reply(flags=0x8380), query)]))
    assert outcomes == {A: Found(("10.0.0.1",), 60)}


def test_silence_is_a_failure(tmp_path: Path) -> None:
    outcome = asyncio.run(asked(tmp_path, lambda _: []))[A]
    assert isinstance(outcome, Failed)
    assert outcome.why.endswith("no answer within 0.2 s")


def test_files_are_read_again_when_they_changed(tmp_path: Path) -> None:
    system = files(tmp_path)
    (tmp_path / "hosts").write_text("10.0.0.7 APP.test\n")
    first = asyncio.run(look_up("app.test", "any", DnsConfig(), system))
    assert first[A] == Found(("10.0.0.7",), 5)
    (tmp_path / "hosts").write_text("10.0.0.77 app.test\n")
    assert asyncio.run(look_up("app.test", "any", DnsConfig(), system))[A] == Found(("10.0.0.77",), 5)
    for address in ("10.0.0.2", "10.0.0.30"):
        (tmp_path / "resolv.conf").write_text(f"nameserver {address}\n")
        assert setup(DnsConfig(), system).servers == (Address.parse(f"{address}:53"),)


def test_who_is_stopped_says_nothing_any_more(tmp_path: Path) -> None:
    async def stopped() -> list[Outcomes]:
        told: list[Outcomes] = []
        asked: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def heard(_: bytes) -> list[bytes]:
            if not asked.done():
                asked.set_result(None)
            return []

        async with server(heard) as address:
            asker = NetworkAsker(files(tmp_path))
            asker.ask("app.test.", "ipv4", DnsConfig(nameservers=(address,), timeout=0.01), told.append)
            await asyncio.wait_for(asked, PATIENCE)
            tasks = list(asker._tasks)
            asker.stop()
            await asyncio.wait(tasks)
            assert all(task.cancelled() for task in tasks)
        return told

    assert asyncio.run(stopped()) == []
