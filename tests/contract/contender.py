"""Those who want a lease: a process that does nothing else, and a wait on the loop of the test itself."""

import asyncio
import json
import signal
import subprocess
import sys
import threading
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

import structlog

from mso.backplane.lease import FileLease, Lease, LeaseLostError
from tests.happening import Happening

SOON = 5.0
"""Seconds within which what was let go of is had by another: less than it takes until a lease is over by itself."""
PATIENCE_SECONDS = 60.0


def open_lease(kind: str, *where: str) -> Lease:
    """`file PATH`, `docker PATH PROJECT`, or `kubernetes NAMESPACE KUBECONFIG`."""
    if kind == "file":
        return FileLease(Path(where[0]))
    if kind == "docker":
        from mso.backplane.docker_engine import Address, Engine
        from mso.backplane.docker_lease import DockerLease
        from tests import docker_engine

        return DockerLease(FileLease(Path(where[0])), Engine(Address(host=docker_engine.host())), where[1])
    from mso.backplane.kubernetes_api import Access
    from mso.backplane.kubernetes_lease import KubernetesLease

    return KubernetesLease(Access(kubeconfig=Path(where[1])), where[0])


class Contender:
    """A process that wants the lease and says what comes of it, a line of JSON for each event; killed in the end.

    It says `opened` with its identity, `waiting` with the holder, `acquired`, `lost` with the holder, or `left` after
    SIGTERM; and whatever is logged.
    """

    def __init__(self, *arguments: str) -> None:
        self._news = threading.Condition()
        self._said: list[dict[str, Any]] = []
        command = [sys.executable, "-m", "tests.contract.contender", *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.process.kill()
        self.process.wait()
        self._listener.join()
        assert self.process.stdout
        self.process.stdout.close()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def said(self, event: str) -> list[dict[str, Any]]:
        with self._news:
            return [one for one in self._said if one["event"] == event]

    def wait_for(self, event: str, seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """The last of these."""
        with self._news:
            assert self._news.wait_for(lambda: self.said(event), seconds), f"no {event!r}, but {self._said}"
            return self.said(event)[-1]

    def _listen(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            with self._news:
                self._said.append(json.loads(line))
                self._news.notify_all()


class Waiting:
    """An `acquire` under way: for whom it waits, and whether it is over."""

    def __init__(self, lease: Lease) -> None:
        self.told: list[str] = []
        self._happening = Happening()
        self.task = asyncio.create_task(lease.acquire(self._hear))
        self.task.add_done_callback(self._happening.tell)

    async def until_told(self) -> None:
        await self._happening.until(lambda: self.told)

    async def until_it_is_ours(self, seconds: float = SOON) -> None:
        async with asyncio.timeout(seconds):
            await self.task

    def _hear(self, holder: str) -> None:
        self.told.append(holder)
        self._happening.tell()


async def _contend(lease: Lease) -> None:
    task = asyncio.current_task()
    assert task
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        async with AsyncExitStack() as stack:
            _say("opened", identity=(await stack.enter_async_context(lease)).identity)
            await lease.acquire(lambda holder: _say("waiting", holder=holder))
            _say("acquired")
            await lease.keep()
    except LeaseLostError as lost:
        _say("lost", holder=lost.holder)
    except asyncio.CancelledError:
        _say("left")


def _say(event: str, **fields: str) -> None:
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    structlog.configure(processors=[structlog.processors.JSONRenderer(default=str)])
    asyncio.run(_contend(open_lease(*sys.argv[1:])))
