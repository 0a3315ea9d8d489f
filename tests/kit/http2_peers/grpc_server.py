"""grpcio as a server: grpc_server.py PACKAGES PORT [CERT KEY]. Prints a report at the end of its stdin.

/test.Echo/Echo      unary: the request
/test.Echo/Collect   client streaming: all requests, one after the other
/test.Echo/Repeat    server streaming: the request as often as its first two bytes say
/test.Echo/Both      both ways: each request as it comes
/test.Echo/Sleep     unary: the request, after as many seconds
/test.Echo/Fail      unary: the status of a number and a text, ``5 no such thing``
/grpc.health.v1.Health/Check   SERVING
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, sys.argv[1])
import grpc  # type: ignore[import-not-found,import-untyped,unused-ignore]

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CALLS = [0]
FAILURES: list[str] = []


async def echo(request: bytes, _: Any) -> bytes:
    CALLS[0] += 1
    return request


async def collect(requests: AsyncIterator[bytes], _: Any) -> bytes:
    answer = b"".join([request async for request in requests])
    CALLS[0] += 1
    return answer


async def repeat(request: bytes, _: Any) -> AsyncIterator[bytes]:
    for _number in range(int.from_bytes(request[:2], "big")):
        yield request
    CALLS[0] += 1


async def both(requests: AsyncIterator[bytes], _: Any) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request
    CALLS[0] += 1


async def delayed(request: bytes, _: Any) -> bytes:
    await asyncio.wait([asyncio.ensure_future(asyncio.Event().wait())], timeout=float(request))
    return request


async def fail(request: bytes, context: Any) -> bytes:
    number, _, text = request.decode().partition(" ")
    code = next(code for code in grpc.StatusCode if code.value[0] == int(number))
    await context.abort(code, text)
    return b""


async def check(_request: bytes, _: Any) -> bytes:
    return b"\x08\x01"  # HealthCheckResponse: SERVING


METHODS = {
    "/test.Echo/Echo": grpc.unary_unary_rpc_method_handler(echo),
    "/test.Echo/Collect": grpc.stream_unary_rpc_method_handler(collect),
    "/test.Echo/Repeat": grpc.unary_stream_rpc_method_handler(repeat),
    "/test.Echo/Both": grpc.stream_stream_rpc_method_handler(both),
    "/test.Echo/Sleep": grpc.unary_unary_rpc_method_handler(delayed),
    "/test.Echo/Fail": grpc.unary_unary_rpc_method_handler(fail),
    "/grpc.health.v1.Health/Check": grpc.unary_unary_rpc_method_handler(check),
}


class Service(grpc.GenericRpcHandler):  # type: ignore[misc,unused-ignore]
    def service(self, details: Any) -> Any:
        return METHODS.get(details.method)


def credentials(cert: str, key: str) -> Any:
    return grpc.ssl_server_credentials([(Path(key).read_bytes(), Path(cert).read_bytes())])


async def main() -> None:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([Service()])
    address = f"127.0.0.1:{sys.argv[2]}"
    if len(sys.argv) > 3 and sys.argv[3]:
        server.add_secure_port(address, credentials(sys.argv[3], sys.argv[4]))
    else:
        server.add_insecure_port(address)
    await server.start()
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    print(json.dumps({"calls": CALLS[0], "failures": FAILURES}), flush=True)
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(main())
