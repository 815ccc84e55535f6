"""An engine that is away, late, or nowhere."""

import asyncio
from collections.abc import Iterator

import pytest

from mso.backplane import BackplaneError
from mso.backplane.docker_engine import Address, UnusableError
from mso.model import Failed
from tests.backplane.docker_desk import Desk, a_model, desk
from tests.contract.watching import watching
from tests.docker_engine import docker, socket_path
from tests.tcp_proxy import TcpProxy

pytestmark = [pytest.mark.docker, pytest.mark.process]


@pytest.fixture
def place() -> Iterator[Desk]:
    with desk() as made:
        yield made


@pytest.fixture
def proxy() -> Iterator[TcpProxy]:
    with TcpProxy(socket_path()) as proxy:
        yield proxy


async def test_an_engine_that_is_away_is_waited_for(place: Desk, proxy: TcpProxy) -> None:
    """Health says so, nothing dies, and what ended meanwhile is told when it is back, with its own code and time."""
    model = a_model("import time; print('here', flush=True); time.sleep(600)")
    address = Address(host=f"tcp://127.0.0.1:{proxy.port}")
    async with place.open(address) as backplane, watching(backplane) as watch:
        await backplane.deploy(model)
        await watch.listing()
        assert await backplane.health() == ()
        proxy.stop_answering()
        proxy.cut()
        (complaint,) = await backplane.health()
        assert "does not answer" in complaint or "cannot be reached" in complaint
        await asyncio.to_thread(docker, "kill", place.name(model.current))
        proxy.answer()
        end = await watch.end(model.current)
        assert isinstance(end, Failed)
        assert (end.exit_code, end.finished_at is None) == (137, False)
        await watch.listing()
        assert await backplane.health() == ()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the client closes no such sockets
async def test_no_engine_at_the_start_is_waited_for_as_well(place: Desk) -> None:
    """It may begin later than MSO does."""
    async with place.open(Address(host="unix:///nowhere/docker.sock")) as backplane:
        (complaint,) = await backplane.health()
        assert complaint == (
            "the engine at unix:///nowhere/docker.sock cannot be reached: [Errno 2] No such file or directory"
        )
        with pytest.raises(BackplaneError, match="cannot be reached"):
            await backplane.deploy(a_model(image="image"))


async def test_what_no_engine_can_be_reached_by_is_said_at_the_start(place: Desk) -> None:
    """Waiting would not help."""
    with pytest.raises(UnusableError, match="foo://bar"):
        async with place.open(Address(host="foo://bar")):
            pass
