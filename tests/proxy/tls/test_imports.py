"""A serving generation imports nothing: the installed package may be replaced under it. Nor does TLS."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.kit.certificates import Authority

STORY = """
import shutil, sys
from OpenSSL import SSL
import proxy.cli.run
from proxy.config.tls_model import CertificateConfig, ClientCertificatesConfig, ClusterTlsConfig, ListenerTlsConfig
from proxy.tls.contexts import ClientContexts, ServerContexts
from proxy.tls.renewal import renew
from proxy.tls.layer import Secrets

folder = sys.argv[1]
def pair(name):
    return CertificateConfig(cert=f"{folder}/{name}.pem", key=f"{folder}/{name}.key")

clients = ClientCertificatesConfig(ca=f"{folder}/ca.pem", sans=("URI:spiffe://t/web",))
server = ServerContexts(ListenerTlsConfig(certificates=(pair("edge"),), client_certificates=clients))
ends = [ClientContexts(ClusterTlsConfig(ca=f"{folder}/ca.pem", certificate=pair(name))) for name in ("web", "bad")]
before = set(sys.modules)

def shake(one, other):
    for end in (one, other):
        end.set_app_data(Secrets())
    for _ in range(4):
        for end, far in ((one, other), (other, one)):
            try:
                end.do_handshake()
            except SSL.WantReadError:
                pass
            except SSL.Error:
                return
            try:
                far.bio_write(end.bio_read(65536))
            except SSL.WantReadError:
                pass

told = []
for end in ends:
    for host in ("edge.test", "127.0.0.1", "other.test"):
        ours = server.connection()
        shake(end.connection(host), ours)
        told.append((server.refusal(ours), server.identity(ours)))
assert told[0] == ("", ("URI:spiffe://t/web", "IP:10.0.0.1", "email:a@b.test", "DNS:web")), told
shutil.copy(f"{folder}/next.pem", f"{folder}/edge.pem")
assert renew(server) is None
shutil.copy(f"{folder}/next.key", f"{folder}/edge.key")
assert renew(server) is not None
server.describe(0.0)
print(*sorted(set(sys.modules) - before))
"""


def test_handshakes_and_renewals_import_nothing(tmp_path: Path) -> None:
    ca = Authority(tmp_path)
    ca.issue("edge")
    ca.issue("next")
    ca.issue("web", "URI:spiffe://t/web", "IP:10.0.0.1", "email:a@b.test", "DNS:web", client=True)
    ca.issue("bad", "DNS:bad", client=True, days=-1)
    command = [sys.executable, "-c", STORY, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
