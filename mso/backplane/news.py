"""News: what the loops of a backplane find out, in order, for the one who watches."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Mapping

from mso.backplane import Listed, Observation


class News:
    """Told by loops and their chores, heard by `watch`."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[Observation | Listed | BaseException] = asyncio.Queue()

    def tell(self, observation: Observation) -> None:
        self._waiting.put_nowait(observation)

    async def tell_listed(self, listed: Listed) -> None:
        """Returns when it was heard: whoever is slow to listen is not buried in listings."""
        self._waiting.put_nowait(listed)
        await self._waiting.join()

    def crashed(self, task: asyncio.Task[None]) -> None:
        """What a loop raises is raised by the watch: it is a bug, and ends the process."""
        if not task.cancelled() and (bug := task.exception()):
            self._waiting.put_nowait(bug)

    async def of(self, loops: Mapping[str, Coroutine[None, None, None]]) -> AsyncGenerator[Observation | Listed, None]:
        """All that is told while these run; endless. They end with it."""
        tasks = [asyncio.create_task(loop, name=name) for name, loop in loops.items()]
        for task in tasks:
            task.add_done_callback(self.crashed)
        try:
            while True:
                news = await self._waiting.get()
                if isinstance(news, BaseException):
                    raise news
                yield news
                self._waiting.task_done()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
