"""When a link is replaced, and what is said about it."""

import asyncio
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from mso.broker.lifeline import KICKS_IN_A_ROW, LONGEST_RETRY_SECONDS, End, Lifeline, backoff
from tests.happening import calm

UNREACHABLE = End("nobody there", advice="look there")
KICKED = End("lost", lasted=0.1)
LASTED = End("lost", lasted=3600.0)


class EndedLink:
    """A link whose whole life is known when it begins."""

    def __init__(self, end: End) -> None:
        loop = asyncio.get_running_loop()
        self.up: asyncio.Future[bool] = loop.create_future()
        self.ended: asyncio.Future[End] = loop.create_future()
        if end.lasted is None:
            self.up.cancel()
        else:
            self.up.set_result(True)
        self.ended.set_result(end)

    def say_goodbye(self) -> None:
        raise AssertionError("nobody leaves in these tests")

    abort = say_goodbye


class Exhausted(Exception):
    """The story is over."""


def story(*ends: End) -> Callable[[], EndedLink]:
    remaining = iter(ends)

    def open_link() -> EndedLink:
        for end in remaining:
            return EndedLink(end)
        raise Exhausted

    return open_link


async def at_once() -> None:
    """Nobody has to be asked."""


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many failures in a row each pause was for; the pauses themselves are left out."""
    asked: list[int] = []

    def no_pause(failures: int) -> float:
        asked.append(failures)
        return 0.0

    monkeypatch.setattr("mso.broker.lifeline.backoff", no_pause)
    return asked


async def events(*ends: End) -> list[str]:
    with capture_logs() as logs, pytest.raises(Exhausted):
        await Lifeline(story(*ends), at_once, client_id="mso").run()
    assert all(entry["client_id"] == "mso" for entry in logs)
    return [entry["event"].removeprefix("broker.") for entry in logs]


async def test_after_a_link_that_lasted_the_next_one_is_tried_at_once(waits: list[int]) -> None:
    """Only failures in a row make it wait, and a link that lasted forgives them."""
    await events(UNREACHABLE, UNREACHABLE, KICKED, LASTED, UNREACHABLE)
    assert waits == [1, 2, 3, 1]


async def test_an_outage_is_reported_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first failure is told at once, those after it only when a minute has passed."""
    assert await events(*[UNREACHABLE] * 20) == ["unreachable"]
    monkeypatch.setattr("mso.broker.lifeline.REMIND_SECONDS", 0.0)
    assert await events(*[UNREACHABLE] * 3) == ["unreachable"] * 3


async def test_the_next_outage_is_reported_at_once() -> None:
    """A connection in between makes it a new outage."""
    told = await events(UNREACHABLE, LASTED, UNREACHABLE)
    assert told == ["unreachable", "connected", "disconnected", "unreachable"]


async def test_a_kick_loop_is_reported_once() -> None:
    """Several short connections in a row are somebody else with our client id; a lasting one ends the suspicion."""
    assert (await events(*[KICKED] * (KICKS_IN_A_ROW + 2))).count("kicked_out") == 1
    assert "kicked_out" not in await events(KICKED, KICKED, LASTED, KICKED, KICKED)
    assert "kicked_out" not in await events(KICKED, KICKED, UNREACHABLE, KICKED, KICKED)


async def test_a_bug_ends_it() -> None:
    """What the network thread did not expect is raised, not retried."""
    with pytest.raises(ZeroDivisionError):
        await Lifeline(story(End("bug", crash=ZeroDivisionError())), at_once).run()


async def test_each_link_is_asked_for_before_it_is_opened() -> None:
    """Whoever shares the client id is asked first, and is waited for: also before the first link."""
    asked, may = asyncio.Queue[None](), asyncio.Semaphore(0)
    opened: list[EndedLink] = []
    open_link = story(LASTED, UNREACHABLE, LASTED)

    async def may_open() -> None:
        asked.put_nowait(None)
        await may.acquire()

    def note() -> EndedLink:
        opened.append(open_link())
        return opened[-1]

    running = asyncio.create_task(Lifeline(note, may_open).run())
    for before in range(4):
        await asked.get()
        await calm()
        assert len(opened) == before
        may.release()
    with pytest.raises(Exhausted):
        await running


async def test_who_must_not_open_another_link_ends() -> None:
    """Another process is active: nothing is opened, and that is told to whoever runs it."""

    class Deposed(Exception):
        """Somebody else is active."""

    async def may_open() -> None:
        raise Deposed

    def never() -> EndedLink:
        raise AssertionError("it was opened")

    lifeline = Lifeline(never, may_open)
    with pytest.raises(Deposed):
        await lifeline.run()
    assert lifeline.link is None


@pytest.mark.parametrize(
    ("failures", "longest"), ((1, 0.1), (2, 0.2), (4, 0.8), (7, 6.4), (8, LONGEST_RETRY_SECONDS), (10_000, 10.0))
)
def test_pauses_double_up_to_a_limit_and_are_spread(failures: int, longest: float) -> None:
    """Anywhere between nothing and twice the last limit, so that many clients do not come back at once."""
    pauses = [backoff(failures) for _ in range(500)]
    assert 0 <= min(pauses) < longest / 4
    assert longest * 3 / 4 < max(pauses) <= longest
