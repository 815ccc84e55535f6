"""What every lease promises, whatever it is made of. A new lease joins with one line in ARENAS."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from mso.backplane.lease import Lease
from tests import docker_engine, kubernetes_cluster
from tests.contract.contender import PATIENCE_SECONDS, SOON, Contender, Waiting, open_lease

TAKEOVER = 15.0
"""Seconds within which another has it after a kill -9 (fault R3)."""


class Arena(Protocol):
    """One lease that many want."""

    @property
    def arguments(self) -> tuple[str, ...]:
        """For `open_lease`."""
        ...

    def close(self) -> None: ...


class FileArena:
    def __init__(self, scratch: Path) -> None:
        self.arguments = ("file", str(scratch / "state" / "lease"))

    def close(self) -> None:
        return


class DockerArena:
    """A state directory, and a project of its own on the engine of this machine."""

    def __init__(self, scratch: Path) -> None:
        self._project = docker_engine.new_project()
        self.arguments = ("docker", str(scratch / "state" / "lease"), self._project)

    def close(self) -> None:
        docker_engine.clear(self._project)


class KubernetesArena:
    """A namespace of its own."""

    def __init__(self, scratch: Path) -> None:
        self._cluster = kubernetes_cluster.find()
        self._namespace = self._cluster.create_namespace("mso-lease")
        self.arguments = ("kubernetes", self._namespace, str(self._cluster.kubeconfig))

    def close(self) -> None:
        self._cluster.delete_namespace(self._namespace)


ARENAS: Mapping[str, Callable[[Path], Arena]] = {
    "file": FileArena,
    "docker": DockerArena,
    "kubernetes": KubernetesArena,
}

NEEDS = {
    "docker": (pytest.mark.docker,),
    "kubernetes": (
        pytest.mark.cluster,
        pytest.mark.skipif(not kubernetes_cluster.available(), reason=kubernetes_cluster.INSTALL_HINT),
    ),
}


@pytest.fixture(params=[pytest.param(one, marks=NEEDS.get(one, ())) for one in ARENAS])
def arena(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Arena]:
    arena = ARENAS[request.param](tmp_path)
    yield arena
    arena.close()


async def test_a_lease_that_nobody_has_is_had_at_once(arena: Arena) -> None:
    """Nobody is waited for, and the holder is known by host, process, and a name that no other has."""
    async with open_lease(*arena.arguments) as lease, open_lease(*arena.arguments) as other:
        assert lease.holder == ""
        waiting = Waiting(lease)
        await waiting.until_it_is_ours()
        assert waiting.told == []
        assert lease.holder == lease.identity != other.identity
        assert lease.identity.startswith(f"{socket.gethostname()}-{os.getpid()}-")


async def test_who_comes_second_waits_and_has_it_when_the_first_leaves(arena: Arena) -> None:
    """It is told once who has it, and waits no longer than that one needs it."""
    async with open_lease(*arena.arguments) as second:
        async with open_lease(*arena.arguments) as first:
            await Waiting(first).until_it_is_ours()
            waiting = Waiting(second)
            await waiting.until_told()
            assert second.holder == first.identity
            assert not waiting.task.done()
        await waiting.until_it_is_ours()
        assert waiting.told == [first.identity]
        assert second.holder == second.identity


async def test_an_error_lets_go_of_it_as_well(arena: Arena) -> None:
    """A process that ends for a reason of its own keeps nobody waiting."""
    async with open_lease(*arena.arguments) as second:
        with pytest.raises(ZeroDivisionError):
            await _acquire_and_fail(open_lease(*arena.arguments))
        await Waiting(second).until_it_is_ours()


async def test_who_gives_up_waiting_takes_it_from_nobody(arena: Arena) -> None:
    """The holder keeps it, and the next in line has it after that one."""
    async with open_lease(*arena.arguments) as third:
        async with open_lease(*arena.arguments) as first:
            await Waiting(first).until_it_is_ours()
            async with open_lease(*arena.arguments) as second:
                given_up = Waiting(second)
                await given_up.until_told()
                given_up.task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await given_up.task
            waiting = Waiting(third)
            await waiting.until_told()
            assert waiting.told == [first.identity]
            await first.confirm()
        await waiting.until_it_is_ours()


async def test_the_holder_keeps_it_until_it_leaves(arena: Arena) -> None:
    """`keep` ends only when it is ended; `confirm` says yes all the time."""
    async with open_lease(*arena.arguments) as first, open_lease(*arena.arguments) as second:
        await Waiting(first).until_it_is_ours()
        keeping = asyncio.create_task(first.keep())
        waiting = Waiting(second)
        await waiting.until_told()
        async with asyncio.timeout(SOON):
            await first.confirm()
        assert not keeping.done()
        assert not waiting.task.done()
        for task in (keeping, waiting.task):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


async def test_of_many_that_come_at_once_each_has_it_alone(arena: Arena) -> None:
    """Never two, and in the end all of them."""
    active: set[str] = set()
    served: set[str] = set()

    async def serve(lease: Lease) -> None:
        async with lease:
            await lease.acquire(lambda _: None)
            active.add(lease.identity)
            assert active == {lease.identity}
            await asyncio.sleep(0)
            assert active == {lease.identity}
            served.add(lease.identity)
            active.remove(lease.identity)

    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
        for _ in range(6):
            group.create_task(serve(open_lease(*arena.arguments)))
    assert len(served) == 6


@pytest.mark.process
@pytest.mark.parametrize(("number", "seconds"), ((signal.SIGKILL, TAKEOVER), (signal.SIGTERM, SOON)))
def test_a_process_that_ends_is_followed_by_another(arena: Arena, number: signal.Signals, seconds: float) -> None:
    """After kill -9 within 15 s, after a clean end at once."""
    with ExitStack() as running:
        first = running.enter_context(Contender(*arena.arguments))
        first.wait_for("acquired")
        second = running.enter_context(Contender(*arena.arguments))
        assert second.wait_for("waiting")["holder"] == first.wait_for("opened")["identity"]
        first.send(number)
        began = time.monotonic()
        second.wait_for("acquired", seconds)
        assert time.monotonic() - began < seconds
        assert len(second.said("waiting")) == 1


async def _acquire_and_fail(lease: Lease) -> None:
    async with lease:
        await Waiting(lease).until_it_is_ours()
        raise ZeroDivisionError
