"""TLS peers that nobody here wrote: OpenSSL, GnuTLS, node and nginx, each as a client and as a server.

Clients are `Piped`: what is sent to their stdin goes over their one connection, what comes back is their stdout.
Servers listen on 127.0.0.1 and echo, or speak HTTP. To the two programs of OpenSSL some letters at the beginning of
what they read from stdin are commands, so they are given digits (`tests.kit.conversation`).
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from tests.kit.certificates import Pair
from tests.kit.client import Client
from tests.kit.companion import ROOT
from tests.kit.ports import loopback, port_of
from tests.kit.programs import PATIENCE, Piped, program
from tests.kit.tls import HOST, Version
from tests.kit.waiting import eventually

NODE = str(ROOT / "tests" / "kit" / "tls_node.js")

SUITES_13 = (
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_AES_128_CCM_SHA256",
    "TLS_AES_128_CCM_8_SHA256",
)
"""RFC 8446 appendix B.4; all of them."""

SUITES_12 = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-CCM",
    "ECDHE-ECDSA-AES256-CCM",
    "ECDHE-ECDSA-AES128-CCM8",
    "ECDHE-ECDSA-AES256-CCM8",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-CHACHA20-POLY1305",
)
"""By their names in OpenSSL: RFC 5289 (GCM), RFC 7905 (ChaCha), RFC 7251 (CCM)."""


class ForeignClient(Piped, ABC):
    """One connection to a server that it trusts by this authority."""

    @abstractmethod
    def wait_ready(self) -> None:
        """Until the handshake is done. Raises `Late`."""


class OpensslClient(ForeignClient):
    """`openssl s_client` on one connection; suites and other options are those of the program."""

    def __init__(
        self, address: str, ca: Path, log: Path, *options: str, version: Version = "1.3", host: str = HOST
    ) -> None:
        argv = [program("openssl"), "s_client", "-connect", address, "-servername", host, "-CAfile", str(ca)]
        argv += ["-verify_return_error", "-brief", "-tls1_" + version[-1], *options]
        super().__init__(argv, log)

    def wait_ready(self) -> None:
        """Until the handshake is done. Raises `Late`."""
        self.wait_told("Verification: OK")

    def command(self, letter: Literal["K", "k", "R"], says: str) -> None:
        """Press a key while nothing is under way: `K` and `k` update keys (`K` wants an answer), `R` renegotiates."""
        before = self.told().count(says)
        self.send(letter.encode() + b"\n")
        self.wait_told(says, times=before + 1)

    def update_keys(self, *, both: bool) -> None:
        """Send KeyUpdate (RFC 8446 section 4.6.3), and with `both` ask for one."""
        self.command("K" if both else "k", says="KEYUPDATE")


class GnutlsClient(ForeignClient):
    """`gnutls-cli` on one connection. It keeps its log in memory until it ends."""

    def __init__(self, address: str, ca: Path, log: Path, *, version: Version = "1.3") -> None:
        argv = [program("gnutls-cli"), "--x509cafile", str(ca), "--sni-hostname", HOST, "--verify-hostname", HOST]
        argv += ["--priority", gnutls_priority(version), "--logfile", f"{log}.gnutls"]
        argv += ["-p", str(port_of(address)), address.rpartition(":")[0]]
        super().__init__(argv, log)
        self.log = Path(f"{log}.gnutls")
        self.log.touch()

    def wait_ready(self) -> None:
        """It does not tell when the handshake is done; what is sent earlier waits in its stdin."""


class NodeClient(ForeignClient):
    """Node's `tls.connect`."""

    def __init__(self, address: str, ca: Path, log: Path, *, version: Version = "1.3") -> None:
        host, _, port = address.rpartition(":")
        super().__init__([program("node"), NODE, "client", host, port, str(ca), f"TLSv{version}"], log)

    def wait_ready(self) -> None:
        """Until the handshake is done. Raises `Late`."""
        self.wait_told("ready TLS")


class OpensslServer(Piped):
    """`openssl s_server` that sends back what comes, on one connection at a time. `updates`: KeyUpdates that came.

    What it receives comes out of its stdout after a description of the connection, and so do its own remarks; a thread
    feeds it back.
    """

    SHAKEN = b" supported\n"  # "Secure Renegotiation IS supported" or "IS NOT": the last line about a handshake
    REMARKS = (b"Read BLOCK\n", b"SSL_do_handshake -> 1\n")
    """It read a record that brought no data, such as KeyUpdate; it sent KeyUpdate (told late, with the next remark)."""

    def __init__(self, pair: Pair, log: Path, *options: str, version: Version | Literal["1.1"] = "1.3") -> None:
        self.address = loopback()
        argv = [program("openssl"), "s_server", "-accept", self.address, "-cert", str(pair.cert)]
        argv += ["-key", str(pair.key), "-tls1_" + version[-1], *options]
        super().__init__(argv, log)
        self.handshakes = self.updates = 0
        self.described = b""
        self._echo = threading.Thread(target=self._feed_back, daemon=True)
        self._echo.start()
        eventually(lambda: b"ACCEPT" in self.described, within=PATIENCE, what="s_server listens")

    def _feed_back(self) -> None:
        """Ends with the program's output."""
        while data := self.stdout.read(1 << 16):
            if self.SHAKEN not in self.described:
                self.described += data
                _, shaken, data = self.described.partition(self.SHAKEN)
                self.handshakes += len(shaken) > 0
            self.updates += data.count(self.REMARKS[0])
            for remark in self.REMARKS:
                data = data.replace(remark, b"")
            try:
                self.send(data)
            except BrokenPipeError:
                return  # its last words are no bytes of a client

    def update_keys(self, *, both: bool) -> None:
        """Send KeyUpdate, and with `both` ask for one, which may come with the next data. Nothing may be under way."""
        self.send(b"K\n" if both else b"k\n")

    def close(self) -> None:
        """End it, and the thread."""
        self.process.kill()
        self._echo.join(PATIENCE)
        super().close()


class NodeServer(Piped):
    """Node's `https.createServer`; `tls_node.js` says what it answers."""

    def __init__(self, pair: Pair, log: Path, *, version: Version = "1.3") -> None:
        super().__init__([program("node"), NODE, "server", str(pair.cert), str(pair.key), f"TLSv{version}"], log)
        while b"\n" not in self.unread:
            assert self.more(), self.told()
        self.address = f"127.0.0.1:{int(self.unread)}"


class GnutlsServer(Piped):
    """`gnutls-serv --echo`. It cannot but listen on all addresses: only for namespaces."""

    def __init__(self, pair: Pair, port: int, log: Path, *, version: Version = "1.3") -> None:
        argv = [program("gnutls-serv"), "--echo", "--x509certfile", str(pair.cert), "--x509keyfile", str(pair.key)]
        argv += ["-p", str(port), "--priority", gnutls_priority(version)]
        super().__init__(argv, log)
        self.address = f"127.0.0.1:{port}"
        self.described = b""
        self._drain = threading.Thread(target=self._read, daemon=True)
        self._drain.start()
        self.wait_told("listening on IPv4")

    @property
    def handshakes(self) -> int:
        """Full ones and resumed ones."""
        return self.described.count(b"- Version: TLS")

    def _read(self) -> None:
        while data := self.stdout.read(1 << 16):
            self.described += data

    def close(self) -> None:
        """End it, and the thread."""
        self.process.kill()
        self._drain.join(PATIENCE)
        super().close()


def gnutls_priority(version: Version) -> str:
    """The priority string for one version."""
    return f"NORMAL:-VERS-ALL:+VERS-TLS{version}"


@contextmanager
def nginx(folder: Path, servers: str, listens: str) -> Iterator[Piped]:
    """A running nginx with these blocks in its http block; ready once it `listens` on this address."""
    (folder / "logs").mkdir(parents=True)
    file = folder / "nginx.conf"
    paths = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
    file.write_text(
        f"""
        daemon off; master_process off; pid {folder}/pid; error_log stderr notice;
        events {{ worker_connections 512; }}
        http {{ access_log off; client_body_temp_path {folder}/body; {paths} {servers} }}
        """
    )
    argv = [program("nginx"), "-p", str(folder), "-c", str(file), "-e", "stderr"]
    with Piped(argv, folder / "nginx.log") as running:

        def answers() -> bool:
            assert running.process.poll() is None, running.told()
            try:
                Client(listens).close()
            except ConnectionRefusedError:
                return False
            return True

        eventually(answers, within=PATIENCE, what="nginx listens")
        yield running
