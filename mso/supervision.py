"""The HTTP surface for supervisors: `/livez`, `/readyz`, `/metrics`. It answers; it decides nothing.

`/livez` fails when a loop no longer turns: restart. `/readyz` fails while broker or backplane is away: wait.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import structlog
from aiohttp import web

from mso.checkup import Checks, ok, skipped, warning, wrong

ASK_SECONDS = 2.0
HTTP = "HTTP port"

log = structlog.get_logger()

Probe = Callable[[], Awaitable[tuple[str, ...]]]
"""What is wrong, in words; empty when all is well."""


@asynccontextmanager
async def surface(
    port: int,
    *,
    livez: Probe,
    readyz: Probe,
    metrics: Callable[[], Awaitable[bytes]],
    host: str = "0.0.0.0",  # noqa: S104 - probes come from outside the container
) -> AsyncIterator[int]:
    """Serve until left; yields the port, which the system chooses if 0 is asked for. Raises OSError if it is taken."""

    async def answer(probe: Probe) -> web.Response:
        wrong = await probe()
        return web.json_response({"ok": not wrong, "reasons": list(wrong)}, status=503 if wrong else 200)

    async def live(_: web.Request) -> web.Response:
        return await answer(livez)

    async def ready(_: web.Request) -> web.Response:
        return await answer(readyz)

    async def measured(_: web.Request) -> web.Response:
        return web.Response(body=await metrics(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    application = web.Application()
    application.add_routes([web.get("/livez", live), web.get("/readyz", ready), web.get("/metrics", measured)])
    runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as exc:
            raise OSError(exc.errno, f"cannot listen on port {port}: choose another MSO_HTTP_PORT, or 0") from exc
        chosen: int = runner.addresses[0][1]
        log.info("http.listening", port=chosen)
        yield chosen
    finally:
        await runner.cleanup()


@dataclass(frozen=True, slots=True)
class Said:
    """What a service says of itself when it is asked."""

    ok: bool
    reasons: tuple[str, ...]


async def ask(port: int, path: str, *, seconds: float = ASK_SECONDS) -> Said | None:
    """Ask the service behind a port of this machine. None if none of ours answers there in time."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(seconds)) as session,
            session.get(f"http://127.0.0.1:{port}{path}") as answer,
        ):
            said = await answer.json()
            return Said(bool(said["ok"]), tuple(map(str, said["reasons"])))
    except (aiohttp.ClientError, OSError, ValueError, TypeError, LookupError):  # nobody, or somebody else
        return None


async def check(port: int) -> Checks:
    """Whether a service could listen here, or one does; and how it is."""
    if not port:
        yield skipped(HTTP, "MSO_HTTP_PORT is 0: no supervisor can ask MSO how it is")
        return
    with socket.socket() as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as the service does: what has just ended is no hindrance
        try:
            probe.bind(("0.0.0.0", port))  # noqa: S104 - where the service listens
        except OSError as error:
            taken = error
        else:
            yield ok(HTTP, f"port {port} is free: no MSO of this configuration runs on this machine")
            return
    alive, ready = await asyncio.gather(ask(port, "/livez"), ask(port, "/readyz"))
    if alive is None or ready is None:
        yield wrong(
            HTTP, f"port {port} cannot be used: {taken.strerror}", "choose another MSO_HTTP_PORT, or 0 for none"
        )
    elif not alive.ok:
        yield wrong(HTTP, f"the MSO at port {port} is ill: {'; '.join(alive.reasons)}", "restart it")
    elif ready.ok or ready.reasons[0].startswith("standby"):
        yield ok(HTTP, f"an MSO answers at port {port}: {'; '.join(ready.reasons) or 'ready'}")
    else:
        yield warning(
            HTTP, f"the MSO at port {port} is not ready: {'; '.join(ready.reasons)}", "see what else is wrong here"
        )
