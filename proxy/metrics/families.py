"""The metrics of the proxy: their names, labels and meaning. Names follow https://prometheus.io/docs/practices/naming/."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shm_metrics import Registry
from shm_metrics.registry import BOUNDS

if TYPE_CHECKING:
    from collections.abc import Sequence

ENDPOINT = ("cluster", "endpoint")
ROUTE = ("listener", "route")


class Families:
    """All that listeners, routes, clusters and endpoints count with, in one registry."""

    def __init__(
        self, registry: Registry | None = None, *, per_endpoint: bool = True, bounds: Sequence[float] = BOUNDS
    ) -> None:
        """`per_endpoint` False: the endpoints of a cluster share one member. `bounds`: of the durations, seconds."""
        self.registry = one = registry or Registry()
        self.per_endpoint = per_endpoint
        seconds = tuple(bounds)
        listener, down = ("listener",), "hotswap_downstream"
        # ---- clients
        self.accepted = one.counter(f"{down}_accepted_total", "Connections taken from the accept queue.", listener)
        self.downstream = one.counter(
            f"{down}_connections_total",
            "Connections of clients that were taken on, after PROXY header and TLS handshake.",
            ("listener", "protocol", "encryption"),
        )
        self.downstream_now = one.gauge(
            f"{down}_connections_active", "Connections of clients now.", ("listener", "protocol", "encryption")
        )
        self.received = one.counter(
            f"{down}_received_bytes_total", "Bytes from clients, without those of TLS itself.", listener
        )
        self.sent = one.counter(f"{down}_sent_bytes_total", "Bytes to clients, without those of TLS itself.", listener)
        self.downstream_resets = one.counter(
            f"{down}_resets_total", "Connections that the client reset, or that the network lost.", listener
        )
        self.refused = one.counter(
            f"{down}_refused_total",
            "Connections that were accepted and reset: turned away, or for their PROXY header.",
            ("listener", "reason"),
        )
        self.downstream_handshakes = one.counter(
            f"{down}_handshakes_total", "TLS handshakes with clients by outcome.", ("listener", "outcome")
        )
        self.failures = one.counter(
            f"{down}_failures_total",
            "What failed and has no code: responses that the endpoint broke off, connections (tcp, amqp) without one.",
            ("listener", "reason"),
        )
        # ---- messages
        self.published = one.counter("hotswap_amqp_published_total", "Messages from clients (amqp).", listener)
        self.delivered = one.counter("hotswap_amqp_delivered_total", "Messages to clients (amqp).", listener)
        self.acked = one.counter(
            "hotswap_amqp_acked_total", "Acks, nacks and rejects of clients (amqp); one may be for several.", listener
        )
        # ---- requests
        self.requests = one.counter(
            "hotswap_requests_total",
            "Responses to clients: of endpoints and our own, by class (HTTP), or ok and error (bolt).",
            ("listener", "route", "code"),
        )
        self.durations = one.histogram(
            "hotswap_request_duration_seconds",
            "From the whole head of a request to the end of its response; of bolt, calls that are looked at singly.",
            ROUTE,
            bounds=seconds,
        )
        self.timeouts = one.counter(
            "hotswap_request_timeouts_total", "Requests that we answered because a deadline passed.", ROUTE
        )
        self.requests_now = one.gauge("hotswap_requests_active", "Requests under way.", listener)
        self.bugs = one.counter("hotswap_bugs_total", "Bugs that showed: each ended the connection that met it.")
        self._define_upstream(one, seconds)

    def _define_upstream(self, one: Registry, seconds: tuple[float, ...]) -> None:
        up = "hotswap_upstream"
        self.upstream = one.counter(
            f"{up}_connections_total", "Connections to endpoints that were made.", (*ENDPOINT, "encryption")
        )
        self.upstream_now = one.gauge(
            f"{up}_connections_active",
            "Connections to endpoints now: connecting, active, idle in the pool, or retiring.",
            (*ENDPOINT, "encryption", "state"),
        )
        self.retired = one.counter(
            f"{up}_retired_total",
            "Connections that were replaced by encrypted ones or by plaintext, and ended: closed by the endpoint "
            "(peer), by us when nothing was under way any more (own) or when it did not close it (deadline); else cut.",
            (*ENDPOINT, "how"),
        )
        self.retiring_requests = one.gauge(
            f"{up}_retiring_requests_active", "Requests under way on connections that are retiring.", ENDPOINT
        )
        self.encryption_wanted = one.gauge(
            f"{up}_encryption_wanted", "1: connections to the endpoint are to be encrypted; 0: not.", ENDPOINT
        )
        self.encryption_failures = one.counter(
            f"{up}_encryption_failures_total",
            "Attempts to have a connection encrypted, or to replace one, that failed: certificate, handshake, refused, "
            "timeout, or lost.",
            (*ENDPOINT, "reason"),
        )
        self.fallbacks = one.counter(
            f"{up}_encryption_fallbacks_total", "Connections in plaintext where encryption is wanted.", ENDPOINT
        )
        self.connect_failures = one.counter(
            f"{up}_connect_failures_total", "Connections to endpoints that could not be made.", (*ENDPOINT, "reason")
        )
        self.connect_durations = one.histogram(
            f"{up}_connect_duration_seconds",
            "How long TCP connections to endpoints took to be made.",
            ("cluster",),
            bounds=seconds,
        )
        self.upstream_received = one.counter(
            f"{up}_received_bytes_total", "Bytes from endpoints, without those of TLS itself.", ENDPOINT
        )
        self.upstream_sent = one.counter(
            f"{up}_sent_bytes_total", "Bytes to endpoints, without those of TLS itself.", ENDPOINT
        )
        self.answers = one.counter(
            f"{up}_requests_total",
            "Responses of endpoints by class (HTTP), or ok and error (bolt).",
            (*ENDPOINT, "code"),
        )
        self.answer_durations = one.histogram(
            f"{up}_request_duration_seconds",
            "From the choice of the connection to the end of the response.",
            ENDPOINT,
            bounds=seconds,
        )
        self.upstream_requests_now = one.gauge(f"{up}_requests_active", "Requests under way at endpoints.", ENDPOINT)
        self.upstream_timeouts = one.counter(
            f"{up}_timeouts_total", "Requests that an endpoint did not answer in time.", ENDPOINT
        )
        self.upstream_resets = one.counter(
            f"{up}_resets_total", "Connections that ended before the answer was complete.", ENDPOINT
        )
        self.retries = one.counter(f"{up}_retries_total", "Requests that were sent once more.", ("cluster",))
        self.overflows = one.counter(
            f"{up}_overflows_total", "Requests that the limits of the cluster refused.", ("cluster",)
        )
        self.ejections = one.counter(
            f"{up}_ejections_total", "How often an endpoint was taken out of use for its errors.", ENDPOINT
        )
        self.healthy = one.gauge(f"{up}_healthy", "1: the endpoint is in use; 0: ejected, or ill by a check.", ENDPOINT)
        self.upstream_handshakes = one.counter(
            f"{up}_handshakes_total", "TLS handshakes with endpoints by outcome.", ("cluster", "outcome")
        )
        self.mirrored = one.counter(
            f"{up}_mirrored_total", "Copies of requests: sent whole, or dropped.", ("cluster", "outcome")
        )
