"""An HTTPS server in the place of a Kubernetes API: it answers what the test says, and keeps what it heard."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from tests.mosquitto import Certificate

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def content(_: web.Request) -> web.StreamResponse:
    """All is well."""
    return web.json_response({"kind": "Status", "status": "Success"})


async def hang(_: web.Request) -> web.StreamResponse:
    """Accept, and never answer."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError("nobody ends this")


async def cut(request: web.Request) -> web.StreamResponse:
    """Break the connection."""
    assert request.transport
    request.transport.abort()
    return web.Response()


def saying(*chunks: bytes, then: Answer | None = None, pause: float = 0.01) -> Answer:
    """A stream of these chunks, which ends, or does what is said then."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
            await asyncio.sleep(pause)
        return await then(request) if then else response

    return answer


def refusing(status: int, body: str | bytes | Mapping[str, Any] = "", **headers: str) -> Answer:
    """The answer is no: a Status of the API, or whatever somebody in between says."""

    async def answer(_: web.Request) -> web.StreamResponse:
        data = json.dumps(body).encode() if isinstance(body, Mapping) else body
        data = data.encode() if isinstance(data, str) else data
        return web.Response(
            status=status, body=data, headers={name.replace("_", "-"): headers[name] for name in headers}
        )

    return answer


def asking_for(token: str) -> Answer:
    """Only who has this token is let in."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization", "").lower() == f"bearer {token}".lower():
            return await content(request)
        return await refusing(401, {"reason": "Unauthorized", "message": "Unauthorized", "code": 401})(request)

    return answer


@dataclass
class Heard:
    """One request."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def token(self) -> str:
        return self.headers.get("Authorization", "").split(" ", 1)[-1]


@dataclass
class ApiServer:
    port: int
    certificate: Certificate
    answer: Answer = content
    heard: list[Heard] = field(default_factory=list)

    @property
    def ca_file(self) -> Path:
        return self.certificate.certificate

    @property
    def host(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def kubeconfig(self, directory: Path, cluster: Mapping[str, Any] | None = None, **user: str) -> Path:
        """A kubeconfig that leads here, for a user with these credentials."""
        cluster = {"server": self.host, "certificate-authority": str(self.ca_file), **(cluster or {})}
        path = directory / "kubeconfig"
        path.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "here", "cluster": cluster}],
                    "users": [{"name": "me", "user": user}],
                    "contexts": [
                        {"name": "here", "context": {"cluster": "here", "user": "me"}},
                        {"name": "nowhere", "context": {"cluster": "nowhere", "user": "me"}},
                    ],
                    "current-context": "here",
                }
            )
        )
        return path

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.heard.append(
            Heard(request.method, request.path, dict(request.query), dict(request.headers), await request.read())
        )
        return await self.answer(request)


@asynccontextmanager
async def api_server(certificate: Certificate, clients: Certificate | None = None) -> AsyncIterator[ApiServer]:
    """Of who has no certificate of `clients` it wants to know nothing, if that is given."""
    server = ApiServer(0, certificate)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.certificate, certificate.key)
    if clients:
        context.load_verify_locations(clients.certificate)
        context.verify_mode = ssl.CERT_REQUIRED
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server._handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    server.port = runner.addresses[0][1]
    try:
        yield server
    finally:
        await runner.cleanup()
