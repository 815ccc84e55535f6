"""A witness that says what the test says it saw."""

import asyncio

from mso.broker import Broker
from mso.observers.witness import Verdict, Witness


class FakeWitness(Witness):
    """It has seen nothing until it is told so. As any other it can say nothing while the broker is away."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.token = "token-1"
        """What the next row is handed over under."""
        self.verdicts: list[Verdict] = []
        """The next ones, one each; NOT_SEEN when there is none left."""
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.expected: list[tuple[str, str]] = []
        self.asked: list[tuple[str, str]] = []
        """About which topic, and under which token."""
        self.acts: list[str] = []
        """What it was told to do, in order: expect, clear, verdict, settled."""

    def expect(self, topic: str, token: str) -> None:
        self.acts.append("expect")
        self.expected.append((topic, token))

    async def clear(self, topic: str) -> str:
        self.acts.append("clear")
        await self._hear()
        return self.token

    async def verdict(self, topic: str, token: str) -> Verdict:
        self.acts.append("verdict")
        self.asked.append((topic, token))
        await self._hear()
        return self.verdicts.pop(0) if self.verdicts else Verdict.NOT_SEEN

    def settled(self, topic: str, token: str) -> None:
        self.acts.append("settled")

    async def _hear(self) -> None:
        await self._broker.connected()
        await self.may_answer.wait()
