"""A TCP proxy in front of a server, to play a bad network: connections go silent, are cut, or are never answered."""

import socket
import struct
import threading
from contextlib import suppress
from typing import Self

_CHUNK = 1 << 16
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class TcpProxy:
    """Listens on a port of this machine while `with` lasts, and passes everything on, in both directions."""

    def __init__(self, host: str, port: int = 0, *, at: str = "127.0.0.1") -> None:
        """The server's host and port; or, as the host, the path of its socket. `at` is where to listen."""
        self._server = (host, port)
        self._links: list[_Link] = []
        self._lock = threading.Lock()
        self._passing = True
        self._listener = socket.create_server((at, 0), backlog=100)
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # to close it would not wake who waits there
        self._listener.close()
        self.cut()

    def freeze(self) -> None:
        """Connections that exist go silent, and stay open; new ones pass."""
        with self._lock:
            for link in self._links:
                link.passing.clear()

    def stop_answering(self) -> None:
        """Connections that exist go silent, and new ones are accepted and silent from the beginning."""
        with self._lock:
            self._passing = False
        self.freeze()

    def answer(self) -> None:
        """All is well again; what was said meanwhile arrives late, also of those who wait no longer for the answer."""
        with self._lock:
            self._passing = True
            for link in self._links:
                link.passing.set()

    def cut(self) -> None:
        """Reset every connection that exists."""
        with self._lock:
            links, self._links = self._links, []
        for link in links:
            link.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            try:
                server = self._connect()
            except OSError:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                client.close()
                continue
            link = _Link(client, server)
            with self._lock:
                if self._passing:
                    link.passing.set()
                self._links.append(link)
            link.start()

    def _connect(self) -> socket.socket:
        host, port = self._server
        if not host.startswith("/"):
            return socket.create_connection((host, port))
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(host)
        except OSError:
            server.close()
            raise
        return server


class _Link:
    """A connection to us and the one to the server that belongs to it, with a thread for each direction."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.passing = threading.Event()
        self._ends = (client, server)
        self._lock = threading.Lock()
        self._pumps = 2
        for end in self._ends:
            if end.family != socket.AF_UNIX:
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start(self) -> None:
        client, server = self._ends
        for source, sink in ((client, server), (server, client)):
            threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def cut(self) -> None:
        for end in self._ends:
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                end.shutdown(socket.SHUT_RD)  # wakes the pumps, and says nothing to anybody
        self.passing.set()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                self.passing.wait()
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
        with self._lock:
            self._pumps -= 1
            if not self._pumps:  # before that the number of a closed one could be that of another already
                for end in self._ends:
                    end.close()
