"""The HTTP surface for supervisors: `/livez`, `/readyz`, `/metrics`. It answers; it decides nothing.

`/livez` fails when a loop no longer turns: restart. `/readyz` fails while broker or backplane is away: wait.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog
from aiohttp import web

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
