"""The keys of a listener. See `keys`."""

from __future__ import annotations

from typing import get_args

from hotswap.settings.kinds import Choice, Count, Duration, Flag, Name, Size, SocketAddress
from hotswap.settings.sections import Items, Key, Section
from proxy.config import model, tls_model
from proxy.config.filter_keys import FILTER
from proxy.config.kinds import LOG_TARGET, LogTemplate
from proxy.config.networks import Networks
from proxy.config.route_keys import AMQP, FRAMED, HTTP1, LOGGED, ROUTE, ROUTED
from proxy.config.tls_keys import LISTENER_TLS

ACCESS_LOG = Section(
    "access log",
    model.AccessLogConfig,
    "One line for each request of http1, call of bolt and dubbo, connection of tcp, written at its end; see "
    "[the access log](access-log.md). A plain value is short for `to`.",
    (
        Key(
            "to",
            LOG_TARGET,
            "`stdout`, `journald`, or the absolute path of a file, which SIGUSR1 opens anew.",
            required=True,
            example="/var/log/edge.log",
        ),
        Key("format", Choice(get_args(model.LogFormat)), "Lines of text, or a JSON object a line."),
        Key(
            "template",
            LogTemplate(),
            "The [fields](access-log.md#fields) of a line in braces, and what stands between them; for json the fields "
            "alone count.",
            example='"{time} {client} {status}"',
            absent="all fields",
        ),
    ),
    shorthand="to",
)

PROXY_PROTOCOL = Section(
    "proxy_protocol",
    model.ProxyProtocolConfig,
    "Connections begin with a PROXY protocol header, version 1 or 2, that tells the client's address, see "
    "[PROXY protocol](proxy-protocol.md).",
    (
        Key(
            "trusted",
            Networks(),
            "Whose headers are believed: networks, addresses, or `unix` for a unix listener. They must send one.",
            required=True,
            example="[10.0.0.0/8]",
        ),
        Key(
            "others",
            Choice(get_args(model.Others)),
            "Connections from elsewhere: `refuse` resets them, `direct` serves them without a header.",
        ),
        Key("timeout", Duration(), "For the whole header. Then the connection is closed."),
    ),
)

LISTENER = Section(
    "listener",
    model.ListenerConfig,
    "A bound address and the protocol that is spoken there. In an upgrade the new generation gets the listener with "
    "everything that waits in its accept queue. It is recognised by its address, so its name may change.",
    (
        Key("name", Name(), "Stands in logs, status and metrics.", required=True, example="web"),
        Key(
            "address",
            SocketAddress(),
            "`host:port`, `[ipv6]:port` or `unix:/path`, with a fixed port.",
            required=True,
            example="127.0.0.1:8080",
        ),
        Key(
            "protocol",
            Choice(get_args(model.Protocol)),
            "`tcp` relays bytes, `http1` routes requests of HTTP/1.1 and HTTP/1.0, `bolt` routes calls of SOFABolt, "
            "versions 1 and 2 ([bolt](bolt.md)), `dubbo` those of Dubbo ([dubbo](dubbo.md)), `amqp` relays AMQP 0-9-1 "
            "to a broker ([amqp](amqp.md)).",
            required=True,
            example="http1",
        ),
        Key(
            "routes",
            Items(ROUTE),
            "Where requests go, first match first; for tcp, connections by the host of their TLS handshake.",
            absent="see `cluster`",
        ),
        Key(
            "cluster",
            Name(),
            "Where everything goes: short for one route that takes every request, or every connection.",
            example="app",
            absent="see `routes`",
        ),
        Key(
            "backlog",
            Count(1, 65535),
            "Connections that wait in the kernel to be accepted; the kernel's own limit is net.core.somaxconn.",
        ),
        Key(
            "max_connections",
            Count(1, 10_000_000),
            "Connections served at a time. More wait in the backlog.",
            example="10000",
            absent="as many as open files allow",
        ),
        Key(
            "header_timeout",
            Duration(),
            "From the first byte of a request to the end of its header; for the first request from the beginning of "
            "the connection. Then 408, or a mere close if not a byte came.",
            only=HTTP1,
        ),
        Key("body_timeout", Duration(), "Longest silence of a client inside a request body. Then 408.", only=HTTP1),
        Key(
            "keepalive_timeout",
            Duration(),
            "Wait for the next request on a connection. Then it is closed. Clients of bolt and dubbo send heartbeats "
            "within it.",
            only=ROUTED,
        ),
        Key(
            "http2",
            Flag(),
            "HTTP/2 is spoken as well ([http2](http2.md)): with `tls` to clients that agree on it by ALPN, else to "
            "those that begin with it.",
            example="true",
            only=HTTP1,
        ),
        Key(
            "max_header_bytes",
            Size(1 << 10, 1 << 20),
            "Request line and header fields together. More gets 431, or 414 if it is the line.",
            only=HTTP1,
        ),
        Key(
            "max_headers",
            Count(1, 10_000),
            "Header fields of a request, and trailer fields. More get 431.",
            only=HTTP1,
        ),
        Key(
            "max_body",
            Size(),
            "Bytes of a request body. More gets 413. Bodies are streamed, so this is no memory limit.",
            example="10MB",
            absent="no limit",
            only=HTTP1,
        ),
        Key(
            "max_frame",
            Size(128 << 10, 16 << 20),
            "Bytes of a frame of either side. Bolt and dubbo: a longer request or response is dropped, its call gets "
            "status 9, or 40 and 50. "
            "Amqp: no more than this is agreed on; a longer one ends its connection.",
            only=FRAMED,
        ),
        Key("max_channels", Count(1, 65535), "Channels of a connection; no more are agreed on.", only=AMQP),
        Key("max_consumers", Count(1, 1_000_000), "Consumers of a connection. One more ends it (506).", only=AMQP),
        Key(
            "handover",
            Choice(get_args(model.Handover)),
            "How connections move in an upgrade. `value`: as they are, nothing stops. `quiet`: deliveries are stopped "
            "by basic.cancel before, and resumed by basic.consume after it. See [amqp](amqp.md).",
            only=AMQP,
        ),
        Key(
            "settle_timeout",
            Duration(),
            "How long clients may take to ack what was delivered, once deliveries are stopped: for a drain, or a "
            "change of broker. Then the broker delivers it again.",
            only=AMQP,
        ),
        Key("access_log", ACCESS_LOG, "A line for each request, call or connection.", absent="none", only=LOGGED),
        Key(
            "original_dst",
            Choice(get_args(model.OriginalDst)),
            "Rules of the kernel send connections here that went elsewhere: learn where to, after a `redirect` (nft's "
            "redirect, iptables' REDIRECT) or a `tproxy`. Connections that no rule sent are reset. See "
            "[transparent](transparent.md).",
            example="redirect",
            absent="not asked",
            only=("tcp", "http1"),
        ),
        Key("filters", Items(FILTER), "What connections and requests pass, in this order.", absent="none"),
        Key("proxy_protocol", PROXY_PROTOCOL, "Who tells the client's address by a header.", absent="no header"),
        Key("tls", LISTENER_TLS, "Clients speak TLS, see below.", absent="plaintext"),
        Key(
            "tls_mode",
            Choice(get_args(tls_model.TlsMode)),
            "`permissive`: those who speak plaintext are served, too; their first bytes tell. Needs `tls`.",
        ),
        Key(
            "first_bytes_timeout",
            Duration(),
            "How long the first bytes that tell TLS from plaintext, or the host of a handshake, may take. With "
            "`tls_mode: permissive` on tcp it is required: a client that is silent for so long speaks plaintext and "
            "waits for the server.",
            example="1s",
            absent="5s for routes by `sni`, else as a header",
        ),
    ),
)
