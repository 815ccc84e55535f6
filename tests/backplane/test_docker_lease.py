"""Two MSOs with state directories of their own, and one project on one engine."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from mso.backplane import docker_lease
from mso.backplane.docker_engine import Address, Engine
from mso.backplane.docker_lease import DockerLease
from mso.backplane.lease import FileLease, LeaseLostError
from tests.contract.contender import Waiting
from tests.docker_engine import clear, docker, host, new_project, socket_path, volumes
from tests.tcp_proxy import TcpProxy

pytestmark = [pytest.mark.docker, pytest.mark.process]


@pytest.fixture
def project() -> Iterator[str]:
    name = new_project()
    yield name
    clear(name)


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_lease, "LOOK_SECONDS", 0.1)


def lease(directory: Path, project: str, address: Address | None = None) -> DockerLease:
    return DockerLease(FileLease(directory / "lease"), Engine(address or Address(host=host())), project)


async def test_the_newest_takes_a_project_over_and_the_other_yields(tmp_path: Path, project: str) -> None:
    """The older one cannot know of the newer one before it looks; then it says who it is."""
    async with lease(tmp_path / "one", project) as one, lease(tmp_path / "two", project) as two:
        await Waiting(one).until_it_is_ours()
        keeping = asyncio.create_task(one.keep())
        await Waiting(two).until_it_is_ours()
        with pytest.raises(LeaseLostError, match=two.identity):
            async with asyncio.timeout(30):
                await keeping


async def test_other_projects_do_not_matter(tmp_path: Path, project: str) -> None:
    """Two that serve two projects of one engine leave each other alone."""
    other = new_project()
    try:
        async with lease(tmp_path / "one", project) as one, lease(tmp_path / "two", other) as two:
            for each in (one, two):
                await Waiting(each).until_it_is_ours()
            keeping = [asyncio.create_task(each.keep()) for each in (one, two)]
            done, _ = await asyncio.wait(keeping, timeout=1.0)
            assert not done
            for task in keeping:
                task.cancel()
    finally:
        clear(other)


async def test_a_claim_that_somebody_deletes_is_made_again(tmp_path: Path, project: str) -> None:
    """`docker volume prune` deposes nobody."""
    async with lease(tmp_path, project) as one:
        await Waiting(one).until_it_is_ours()
        keeping = asyncio.create_task(one.keep())
        await asyncio.to_thread(docker, "volume", "rm", f"{project}-claim")
        async with asyncio.timeout(30):
            while f"{project}-claim" not in await asyncio.to_thread(volumes):
                await asyncio.sleep(0.02)
        assert not keeping.done()
        keeping.cancel()


async def test_an_engine_that_is_away_deposes_nobody(tmp_path: Path, project: str) -> None:
    """It is waited for, at the start and later."""
    with TcpProxy(socket_path()) as proxy:
        address = Address(host=f"tcp://127.0.0.1:{proxy.port}")
        async with lease(tmp_path, project, address) as one:
            proxy.stop_answering()
            waiting = Waiting(one)
            proxy.cut()
            done, _ = await asyncio.wait((waiting.task,), timeout=0.5)
            assert not done
            proxy.answer()
            await waiting.until_it_is_ours(seconds=60)
            keeping = asyncio.create_task(one.keep())
            proxy.cut()
            done, _ = await asyncio.wait((keeping,), timeout=1.0)
            assert not done
            keeping.cancel()
