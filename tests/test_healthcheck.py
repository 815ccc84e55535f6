"""`python -m mso.healthcheck`, asked as a container engine asks it: by its exit status."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from mso.supervision import surface
from tests.mosquitto import free_port

USABLE = {"SIMULATOR_NAME": "an-so", "PATH": os.environ["PATH"]}


async def asked(directory: Path, **variables: str) -> tuple[int, str]:
    """Exit status and what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mso.healthcheck"),
        env=USABLE | variables,
        cwd=directory,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


@pytest.mark.parametrize(
    ("wrong", "status"), (((), 0), (("loop watch-models does not turn",), 1)), ids=["healthy", "stuck"]
)
async def test_it_says_what_livez_says(tmp_path: Path, wrong: tuple[str, ...], status: int) -> None:
    """Healthy and unhealthy are those of /livez, with its reasons for whoever inspects the container."""

    async def livez() -> tuple[str, ...]:
        return wrong

    async def metrics() -> bytes:
        return b""

    async with surface(0, livez=livez, readyz=livez, metrics=metrics, host="127.0.0.1") as port:
        # A proxy is for what is outside.
        answer = await asked(tmp_path, MSO_HTTP_PORT=str(port), http_proxy="http://127.0.0.1:9")
    assert answer[0] == status
    assert all(reason in answer[1] for reason in wrong)


async def test_nobody_who_answers_is_unhealthy(tmp_path: Path) -> None:
    """A service that does not listen is not alive."""
    port = free_port()
    status, said = await asked(tmp_path, MSO_HTTP_PORT=str(port))
    assert (status, f"/livez on port {port} does not answer" in said) == (1, True)


async def test_what_answers_something_else_is_unhealthy(tmp_path: Path) -> None:
    """Bytes that are no HTTP are no sign of life, and no traceback either."""

    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-something\r\n")
        writer.close()

    async with await asyncio.start_server(babble, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        status, said = await asked(tmp_path, MSO_HTTP_PORT=str(port))
    assert (status, "Traceback" in said) == (1, False)


async def test_a_service_without_the_surface_is_not_doubted(tmp_path: Path) -> None:
    """With MSO_HTTP_PORT=0, also where only .env says so, an engine may not call it unhealthy for ever."""
    (tmp_path / ".env").write_text("MSO_HTTP_PORT=0\n")
    assert (await asked(tmp_path))[0] == 0


async def test_a_configuration_that_no_service_runs_with_is_unhealthy(tmp_path: Path) -> None:
    """It says which line is wrong."""
    status, said = await asked(tmp_path, MSO_HTTP_PORT="eighty")
    assert (status, "MSO_HTTP_PORT" in said) == (1, True)
