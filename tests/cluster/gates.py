"""Models that end when the test says so: each connects to a gate of the test, and waits there for its exit code."""

import socketserver
import threading
import time
from collections import Counter
from typing import Self

PATIENCE_SECONDS = 100.0

GATED = """\
import os, signal, socket, sys
signal.signal(signal.SIGTERM, lambda *_: os._exit(143))  # without a handler process 1 does not hear it
host, _, port = os.environ["GATE"].rpartition(":")
gate = socket.create_connection((host, int(port)))
gate.sendall(os.environ["MODEL"].encode() + b"\\n")
code = gate.makefile().readline().strip()
print("the gate says", code, flush=True)
sys.exit(int(code))
"""
"""The program of such a model. Without its test it has nothing to live for, and ends."""


class Gates:
    """Listens while `with` lasts, at an address that pods reach. A gate is known by the id of its model."""

    def __init__(self, address: str) -> None:
        self._codes: dict[str, int] = {}
        self._started: Counter[str] = Counter()
        self._news = threading.Condition()
        gates = self

        class Keeper(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(b"%d\n" % gates._code_of(self.rfile.readline().decode().strip()))

        self._server = _Server((address, 0), Keeper)
        host, port = self._server.server_address[:2]
        self.address = f"{host!s}:{port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        with self._news:
            self._codes = {model: self._codes.get(model, 1) for model in self._started}
            self._news.notify_all()

    def open(self, **codes: int) -> None:
        """These models end with these codes, at once or as soon as they have started."""
        with self._news:
            self._codes |= codes
            self._news.notify_all()

    @property
    def started(self) -> Counter[str]:
        """How often each model has started."""
        with self._news:
            return self._started.copy()

    def wait_for(self, *models: str) -> None:
        """Wait until all of these have started."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        with self._news:
            while missing := set(models) - self._started.keys():
                assert self._news.wait(deadline - time.monotonic()), f"{missing} did not start"

    def _code_of(self, model: str) -> int:
        """Returns when its gate is open."""
        with self._news:
            self._started[model] += 1
            self._news.notify_all()
            self._news.wait_for(lambda: model in self._codes)
            return self._codes[model]


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
