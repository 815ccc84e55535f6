"""A registry of images on this machine, as far as an engine needs one to pull: it can be told to fail, wait and refuse.

https://distribution.github.io/distribution/spec/api/
"""

import base64
import hashlib
import io
import json
import platform
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class Registry:
    """Has one image, `model:1`, of one file and nothing that could run. Engines speak plain HTTP with 127.0.0.0/8."""

    def __init__(self) -> None:
        self.credentials: tuple[str, str] | None = None
        """Who may pull; everybody if nobody is named."""
        self.fails = 0
        """How many requests for the manifest are answered with 503 from now on; -1: all."""
        self.asked = 0
        """How often it was asked what `model:1` is: once a pull."""
        self.opened = threading.Event()
        """The layer is sent when this is set."""
        self.opened.set()
        layer = _layer()
        config = _json(
            {
                "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
                "os": "linux",
                "config": {"Cmd": ["/no-such-program"]},
                "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
            }
        )
        self._blobs = {_digest(blob): blob for blob in (layer, config)}
        self._manifest = _json(
            {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "config": _descriptor(_CONFIG, config),
                "layers": [_descriptor(_LAYER, layer)],
            }
        )
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                registry._answer(self)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_port}"
        self.image = f"{self.host}/model:1"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.opened.set()
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        if self.credentials and request.headers.get("Authorization") != f"Basic {basic(*self.credentials)}":
            _send(request, 401, _errors("UNAUTHORIZED"), {"WWW-Authenticate": 'Basic realm="test"'})
            return
        *_, kind, name = request.path.rstrip("/").split("/")
        match kind, name:
            case "manifests", tag if tag in ("1", _digest(self._manifest)):
                self.asked += tag == "1"
                if self.fails:
                    self.fails -= 1
                    _send(request, 503, _errors("UNAVAILABLE"))
                else:
                    headers = {"Content-Type": _MANIFEST, "Docker-Content-Digest": _digest(self._manifest)}
                    _send(request, 200, self._manifest, headers)
            case "blobs", digest if digest in self._blobs:
                self.opened.wait(60)
                _send(request, 200, self._blobs[digest], {"Content-Type": "application/octet-stream"})
            case _, "v2":
                _send(request, 200, b"{}")
            case _:
                _send(request, 404, _errors("MANIFEST_UNKNOWN"))


def basic(user: str, password: str) -> str:
    """As it stands in the header, and in the files of credentials."""
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def _send(request: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
    request.send_response(status)
    usual = {"Docker-Distribution-Api-Version": "registry/2.0", "Content-Length": str(len(body))}
    for name, value in (usual | (headers or {})).items():
        request.send_header(name, value)
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body)


def _errors(code: str) -> bytes:
    return _json({"errors": [{"code": code, "message": code.lower().replace("_", " ")}]})


def _layer() -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        member = tarfile.TarInfo("model.txt")
        member.size = 5
        archive.addfile(member, io.BytesIO(b"model"))
    return data.getvalue()


def _json(document: object) -> bytes:
    return json.dumps(document).encode()


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _descriptor(media_type: str, blob: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "size": len(blob), "digest": _digest(blob)}
