"""The HTTP surface answers what it is told to ask."""

import socket

import aiohttp
import pytest

from mso.checkup import Grade
from mso.supervision import Probe, Said, ask, check, surface


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


async def examined(port: int) -> tuple[Grade, str]:
    (finding,) = [finding async for finding in check(port)]
    return finding.grade, finding.what


async def test_the_doctor_says_whether_the_port_is_to_be_had() -> None:
    """Free, taken by somebody else, or not wanted."""
    with socket.socket() as somebody:
        somebody.bind(("0.0.0.0", 0))
        port = somebody.getsockname()[1]
        grade, what = await examined(port)
        assert (grade, "cannot be used" in what) == (Grade.WRONG, True)
    grade, what = await examined(port)
    assert (grade, "is free" in what) == (Grade.OK, True)
    assert (await examined(0))[0] is Grade.SKIPPED


async def stuck() -> tuple[str, ...]:
    return ("loop send does not turn",)


async def waiting() -> tuple[str, ...]:
    return ("standby: another one is active",)


@pytest.mark.parametrize(
    ("livez", "readyz", "grade", "words"),
    (
        (nothing_wrong, nothing_wrong, Grade.OK, "ready"),
        (nothing_wrong, waiting, Grade.OK, "standby"),
        (nothing_wrong, something_wrong, Grade.WARNING, "the broker is not connected"),
        (stuck, nothing_wrong, Grade.WRONG, "loop send does not turn"),
    ),
)
async def test_the_doctor_asks_a_service_that_is_there(livez: Probe, readyz: Probe, grade: Grade, words: str) -> None:
    """How it is, in its own words."""
    async with surface(0, livez=livez, readyz=readyz, metrics=nothing_measured) as port:
        found, what = await examined(port)
        assert (found, words in what) == (grade, True)


async def test_who_asks_where_nobody_answers_is_told_so() -> None:
    """Also where somebody answers who is no MSO."""
    with socket.socket() as somebody:
        somebody.bind(("127.0.0.1", 0))
        somebody.listen()
        assert await ask(somebody.getsockname()[1], "/readyz", seconds=0.1) is None
    async with surface(
        0, livez=nothing_wrong, readyz=nothing_wrong, metrics=nothing_measured, host="127.0.0.1"
    ) as port:
        assert await ask(port, "/metrics") is None
        assert await ask(port, "/readyz") == Said(ok=True, reasons=())
