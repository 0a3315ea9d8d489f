"""What goes over the wire in the clear: every segment of some ports is searched for texts that must not be there."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable
from types import TracebackType

from tests.kit.background import Background
from tests.kit.capture import LARGEST, nothing_dropped, packet_socket
from tests.kit.waiting import readable

PAUSE = 0.05
"""Seconds after which the thread looks whether it is to end."""


class Wiretap(Background):
    """Counts `texts` in what goes over `ports` of the loopback device, in a thread. Raises `Unpermitted`."""

    def __init__(self, ports: Iterable[int], texts: Iterable[bytes]) -> None:
        super().__init__()
        self.texts = tuple(texts)
        self.seen: Counter[bytes] = Counter()
        self.bytes = 0
        """Of TCP, in both directions."""
        self._socket = packet_socket(sorted(set(ports)), whole=True)
        self._tails: dict[bytes, bytes] = {}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What was sent by now has been looked at."""
        super().__exit__(kind, error, trace)
        nothing_dropped(self._socket)
        self._socket.close()

    def run(self) -> None:
        """See `Background`."""
        while not self.over.is_set():
            if readable(self._socket.fileno(), within=PAUSE):
                self._drain()
        self._drain()

    def _drain(self) -> None:
        while True:
            try:
                self._look(self._socket.recv(LARGEST))
            except BlockingIOError:
                return

    def _look(self, packet: bytes) -> None:
        """One IP packet. A text may be cut by the end of a segment."""
        size = struct.unpack_from("!H", packet, 2)[0] if packet[0] >> 4 == 4 else len(packet)
        start = (packet[0] & 15) * 4 if packet[0] >> 4 == 4 else 40
        data = packet[start + (packet[start + 12] >> 4) * 4 : size]
        if not data:
            return
        self.bytes += len(data)
        flow = packet[start : start + 4]
        text = self._tails.get(flow, b"") + data
        for one in self.texts:
            self.seen[one] += text.count(one)
        longest = max(map(len, self.texts))
        self._tails[flow] = data[-longest + 1 :]
