"""A model of the chaos, as a process of its own: it tells the register that it lives, and ends as the register says.

It imports nothing but Python's own, so that it starts in a moment, and runs alone: `python -I -S model.py`. The
register is at $REGISTER (host:port). When that is gone it ends: nothing of a harness outlives it.
"""

import contextlib
import json
import os
import select
import signal
import socket
import time

NOBODY_THERE = 75
UNTOLD = 143
HEARD_SECONDS = 5.0


def main() -> None:
    host, _, port = os.environ["REGISTER"].rpartition(":")
    register = socket.create_connection((host, int(port)), 20)
    register.settimeout(None)
    ending = False
    on_term = str(UNTOLD)

    def end(code: int, word: str = "end") -> None:
        """Say it, then do it."""
        nonlocal ending
        ending = True  # from here on SIGTERM comes too late
        register.sendall(f"{word} {code}\n".encode())
        register.shutdown(socket.SHUT_WR)
        # Until it was heard: what is still on its way when the network of a pod is taken down is lost.
        register.settimeout(HEARD_SECONDS)
        with contextlib.suppress(OSError):
            while register.recv(4096):
                pass
        if code < 0:
            os.kill(os.getpid(), -code)
            code = UNTOLD
        os._exit(code)

    def term(*_: object) -> None:
        if not ending:
            if on_term == "ignore":
                register.sendall(b"term ignored\n")
            else:
                end(int(on_term), "term")

    signal.signal(signal.SIGTERM, term)
    names = {"simulation": os.environ["SIMULATION_ID"], "model": os.environ["MODEL_ID"]}
    hello = {**names, "pid": os.getpid(), "host": socket.gethostname()}
    register.sendall(json.dumps(hello).encode() + b"\n")
    unread = b""
    until: float | None = None
    code = 0
    while True:
        left = None if until is None else max(0.0, until - time.monotonic())
        if not select.select([register], [], [], left)[0]:
            end(code)
        received = register.recv(4096)
        if not received:
            os._exit(NOBODY_THERE)
        *lines, unread = (unread + received).split(b"\n")
        for line in lines:
            words = line.decode().split()
            if words[0] == "term":
                on_term = words[1]
            else:
                code, until = int(words[1]), time.monotonic() + float(words[2])


if __name__ == "__main__":
    main()
