"""The HTTP surface answers what it is told to ask."""

import socket

import aiohttp
import pytest

from mso.supervision import surface


async def nothing_wrong() -> tuple[str, ...]:
    return ()


async def something_wrong() -> tuple[str, ...]:
    return ("the broker is not connected",)


async def nothing_measured() -> bytes:
    return b""


async def one_measured() -> bytes:
    return b"a 1\n"


async def get(port: int, path: str) -> tuple[int, str, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
        return answer.status, answer.content_type, await answer.text()


async def test_a_probe_with_nothing_to_say_answers_200() -> None:
    """All is well: 200, and a body that says so."""
    async with surface(
        0, livez=nothing_wrong, readyz=something_wrong, metrics=nothing_measured, host="127.0.0.1"
    ) as port:
        assert await get(port, "/livez") == (200, "application/json", '{"ok": true, "reasons": []}')


async def test_a_probe_with_reasons_answers_503_and_names_them() -> None:
    """Something is wrong: 503, and what it is."""
    async with surface(
        0, livez=nothing_wrong, readyz=something_wrong, metrics=nothing_measured, host="127.0.0.1"
    ) as port:
        assert await get(port, "/readyz") == (
            503,
            "application/json",
            '{"ok": false, "reasons": ["the broker is not connected"]}',
        )


async def test_metrics_are_plain_text() -> None:
    """Prometheus reads the exposition as it is."""
    async with surface(0, livez=nothing_wrong, readyz=nothing_wrong, metrics=one_measured, host="127.0.0.1") as port:
        assert await get(port, "/metrics") == (200, "text/plain", "a 1\n")
        assert (await get(port, "/"))[0] == 404


async def test_a_port_that_is_taken_is_said_with_what_to_do() -> None:
    """The error names the port and the variable."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"port {port}: choose another MSO_HTTP_PORT"):
            async with surface(
                port, livez=nothing_wrong, readyz=nothing_wrong, metrics=nothing_measured, host="127.0.0.1"
            ):
                pass


async def test_the_port_is_free_again_when_it_is_left() -> None:
    """Leaving it closes it."""
    async with surface(
        0, livez=nothing_wrong, readyz=nothing_wrong, metrics=nothing_measured, host="127.0.0.1"
    ) as port:
        pass
    with pytest.raises(aiohttp.ClientConnectorError):
        await get(port, "/livez")
