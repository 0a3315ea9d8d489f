"""One unary call of grpcio: grpc_once.py PACKAGES ADDRESS METHOD CONTENT-IN-HEX SECONDS. Prints what became of it."""

from __future__ import annotations

import json
import sys
import time

sys.path.insert(0, sys.argv[1])
import grpc  # type: ignore[import-not-found,import-untyped,unused-ignore]


def main() -> None:
    address, method, content, within = sys.argv[2:]
    began = time.monotonic()
    code, details, answer = "OK", "", b""
    with grpc.insecure_channel(address) as channel:
        try:
            answer = channel.unary_unary(f"/test.Echo/{method}")(bytes.fromhex(content), timeout=float(within))
        except grpc.RpcError as error:
            code, details = error.code().name, error.details()
    seconds = time.monotonic() - began
    print(json.dumps({"code": code, "details": details, "answer": answer.hex(), "seconds": seconds}))


if __name__ == "__main__":
    main()
