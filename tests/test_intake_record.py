"""A message is acknowledged when what it changed is durable; what cannot be written down is not taken in."""

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from mso.intake import Intake
from mso.ledger import ModelAsked, RunKept
from mso.model import Capabilities, SimulatorName
from mso.protocol.lifecycle import SLICE
from mso.record import Record
from tests.builders import RUN, SIM
from tests.fakes.broker import FakeBroker
from tests.fakes.ledger import FakeLedger
from tests.happening import calm, running
from tests.intake_desk import DEPLOY, DONE, READY, Desk, payload

STRANGE = "/lifecycle/essim/mso/DeployModels"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "aside")


async def at_once() -> None:
    """What runs is known already."""


async def test_what_is_not_durable_is_not_acknowledged(desk: Desk) -> None:
    """Nor is what came later and changed nothing: acknowledgements go out in order of arrival."""
    desk.record.hold()
    for topic, content in ((DEPLOY, payload("a")), (STRANGE, b""), (READY, b""), (DEPLOY, payload("a")), (DONE, b"")):
        await desk.take(topic, content)
    assert desk.acknowledged == []
    desk.record.let_go()
    assert desk.acknowledged == [DEPLOY, STRANGE, READY, DEPLOY, DONE]


async def test_a_message_that_is_put_aside_waits_for_its_turn(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It came behind another one."""

    def stumble(order: object) -> None:
        raise ZeroDivisionError

    await desk.take(DEPLOY, payload("a"))
    desk.record.hold()
    await desk.take(READY)
    monkeypatch.setattr(desk.inventory, "add", stumble)
    await desk.take(DEPLOY, payload("b"))
    assert desk.acknowledged == [DEPLOY]
    desk.record.let_go()
    assert desk.acknowledged == [DEPLOY, READY, DEPLOY]


async def test_an_acknowledgement_follows_what_is_in_the_ledger(desk: Desk) -> None:
    """A kill after the PUBACK of a DeployModels or a SimulationDone forgets nothing of it."""
    ledger = FakeLedger()
    record = Record(desk.inventory, ledger, then=(), step=lambda _: nullcontext())
    desk.inventory.subscribe(record.observe)
    desk.intake = intake(desk, record)
    ledger.may_commit.clear()
    async with running(record.keep()):
        await desk.take(DEPLOY, payload("a"))
        await calm()
        assert (ledger.commits, desk.acknowledged) == ([], [])
        ledger.may_commit.set()
        await record.flushed()
        assert [entry.model.key.model for entry in ledger.entries if isinstance(entry, ModelAsked)] == ["a"]
        assert desk.acknowledged == [DEPLOY]
        ledger.may_commit.clear()
        await desk.take(DONE)
        await calm()
        assert desk.acknowledged == [DEPLOY]
        ledger.may_commit.set()
        await record.flushed()
    assert desk.acknowledged == [DEPLOY, DONE]
    assert [entry.record.stopping for entry in ledger.entries if isinstance(entry, RunKept)] == [False, True]


def intake(desk: Desk, record: Record) -> Intake:
    """One over a real record."""
    return Intake(
        desk.inventory,
        (SimulatorName("essim"),),
        Capabilities(),
        desk.aside,
        max_message_bytes=desk.max_bytes,
        reject=lambda *_: None,
        write=record.write,
        flowing=record.flowing,
        refused=desk.refused.append,
        step=lambda _: nullcontext(),
    )


async def test_nothing_is_taken_before_it_is_known_what_runs(desk: Desk) -> None:
    """Nobody is told too early that a simulation is unknown."""
    broker, recovered = FakeBroker(), asyncio.Event()
    broker.deliver(DONE)
    async with running(desk.intake.take_orders(broker, recovered.wait)):
        await calm()
        assert broker.acknowledged == []
        recovered.set()
        await calm()
        assert broker.acknowledged == [DONE]


async def test_what_cannot_be_written_down_stays_with_the_broker(desk: Desk) -> None:
    """Nothing is taken in while there is trouble, so that no more is lost than has to be; then all of it, in order."""
    broker = FakeBroker()
    desk.is_well.clear()
    async with running(desk.intake.take_orders(broker, at_once)):
        broker.deliver(DEPLOY, payload("a"))
        broker.deliver(DONE)
        await calm()
        assert (desk.models, broker.acknowledged) == (0, [])
        desk.is_well.set()
        await calm()
    assert broker.acknowledged == [DEPLOY, DONE]
    run = desk.inventory.run(RUN)
    assert run
    assert run.stopping


# -- a large one ------------------------------------------------------------------------------------------------------

NAMES = [f"m-{number}" for number in range(3 * SLICE)]


@pytest.fixture
def large(tmp_path: Path) -> Desk:
    """A desk that takes a message of so many models."""
    return Desk(tmp_path / "aside", max_bytes=1_000_000)


async def turns_during(handling: Callable[[], asyncio.Task[None]]) -> int:
    """How often somebody else had a turn until it was done."""
    task, turns = handling(), 0
    while not task.done():
        await asyncio.sleep(0)
        turns += 1
    await task
    return turns


async def test_a_large_request_leaves_room_for_others(large: Desk) -> None:
    """Health, acknowledgements and other runs go on while thousands of models are read; nothing of it is half taken."""
    one, many = payload("other"), payload(*NAMES)
    few = await turns_during(lambda: asyncio.create_task(large.take(f"/lifecycle/essim/mso/{SIM}-2/DeployModels", one)))
    turns = await turns_during(lambda: asyncio.create_task(large.take(DEPLOY, many)))
    assert turns >= few + 2
    assert large.models == 1 + len(NAMES)


async def test_what_comes_behind_a_large_request_is_taken_after_it(large: Desk) -> None:
    """Its models announce themselves to nobody who does not know them yet."""
    broker = FakeBroker()
    broker.deliver(DEPLOY, payload(*NAMES))
    broker.deliver(f"/lifecycle/model/mso/{SIM}/m-0/ReadyForProcessing")
    broker.deliver(DONE)
    async with running(large.intake.take_orders(broker, at_once)):
        await calm()
    assert [topic.rsplit("/", 1)[1] for topic in broker.acknowledged] == [
        "DeployModels",
        "ReadyForProcessing",
        "SimulationDone",
    ]
    assert large.refused == []
