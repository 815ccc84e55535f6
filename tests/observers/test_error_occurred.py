"""ErrorOccurred: the one message of a failure that simulation orchestrators of version 1 obey, for who asks for it."""

import pytest

from mso.model import FailurePolicy, ModelSpec, Reason, Succeeded
from tests.builders import SIM, SO, attempt, crash, key, order
from tests.fakes.broker import FakeBroker
from tests.happening import calm
from tests.observers.desk import Desk

TOPIC = f"/lifecycle/mso/{SO}/{SIM}/a/ErrorOccurred"


def complaints(desk: Desk) -> list[str]:
    """The models of which it was said, in order."""
    return [name.split()[0] for name in desk.heard if name.endswith("ErrorOccurred")]


@pytest.mark.parametrize("version", (1, 2))
async def test_nobody_hears_of_it_who_has_not_asked_for_it(version: int) -> None:
    """A simulation orchestrator that was content with ModelHasTerminated does not begin to end its simulations."""
    desk = Desk()
    async with desk.open():
        desk.ask("a", "b", version=version)
        desk.fail("a")
        desk.report.release(key("a"), ())
        desk.end("b")
        await calm()
    assert desk.heard == ["a ModelHasTerminated", "b ModelHasTerminated", "AllModelsHaveTerminated"]


async def test_the_first_failure_of_a_run_is_told() -> None:
    """On the topic about that model, in exact bytes; AllModelsHaveTerminated comes behind it."""
    desk = Desk(send_error_occurred=True)
    async with desk.open():
        desk.ask("a", "b")
        desk.inventory.apply(attempt("a"), crash(-1, Reason.IMAGE_PULL_FAILED, message="ErrImagePull: no"))
        desk.end("b")
        await calm()
    assert desk.heard == [
        "a ModelHasTerminated",
        "a ErrorOccurred",
        "b ModelHasTerminated",
        "AllModelsHaveTerminated",
    ]
    said = desk.broker.sent[1]
    text = b"model a failed: ImagePullFailed, exit code -1: ErrImagePull: no"
    assert (said.topic, said.payload) == (TOPIC, b"\x0a" + bytes([len(text)]) + text)


async def test_it_is_told_once_a_run() -> None:
    """The simulation is over with the first one."""
    desk = Desk(send_error_occurred=True)
    async with desk.open():
        desk.ask("a", "b", "c")
        for name in "bca":
            desk.fail(name)
        await calm()
    assert complaints(desk) == ["b"]


async def test_each_run_is_told_of_by_itself() -> None:
    """Another simulation, and the next run of the same one, have failures of their own."""
    desk = Desk(send_error_occurred=True)
    async with desk.open():
        desk.ask("a")
        desk.ask("b", simulation="sim-2")
        desk.fail("a")
        desk.inventory.apply(attempt("b", simulation="sim-2"), crash())
        await calm()
        desk.ask("a")
        desk.inventory.apply(attempt("a", run=2), crash())
        await calm()
    assert complaints(desk) == ["a", "b", "a"]


async def test_what_was_stopped_has_not_failed() -> None:
    """Somebody wanted it so; a failure that comes to light beside it is told all the same."""
    desk = Desk(send_error_occurred=True)
    async with desk.open():
        desk.ask("a", "b")
        desk.inventory.apply(attempt("a"), crash(143, Reason.STOPPED))
        await calm()
        assert complaints(desk) == []
        desk.fail("b")
        await calm()
    assert complaints(desk) == ["b"]


async def test_of_a_run_that_is_stopped_by_a_failure_that_failure_is_told() -> None:
    """Those that are stopped because of it are not."""
    desk = Desk(send_error_occurred=True)
    async with desk.open():
        desk.inventory.add(order("a", "b", failure_policy=FailurePolicy.STOP_ALL, protocol_version=2))
        desk.fail("a")
        desk.inventory.apply(attempt("b"), crash(143, Reason.STOPPED))
        for name in "ab":
            desk.report.release(key(name), ())
        await calm()
    assert complaints(desk) == ["a"]


async def test_neither_a_success_nor_an_attempt_that_is_followed_by_another_is_told() -> None:
    """Nothing is wrong, or not yet."""
    desk = Desk(send_error_occurred=True)
    async with desk.open():
        desk.ask(ModelSpec(key("a").model, "image:1", retries=1), "b", version=2)
        desk.end("b")
        desk.fail("a")
        await calm()
        assert complaints(desk) == []
        desk.inventory.apply(attempt("a", number=2), Succeeded())
        await calm()
    assert complaints(desk) == []


async def test_it_does_not_wait_for_the_last_lines() -> None:
    """Whoever waits for ModelsReady is told at once; the termination has more to say and comes later."""
    desk = Desk(send_error_occurred=True)
    async with desk.open():
        desk.ask("a", version=2)
        desk.fail("a")
        await calm()
        assert desk.heard == ["a ErrorOccurred"]
        desk.report.release(key("a"), ("last words",))
        await calm()
    assert desk.heard == ["a ErrorOccurred", "a ModelHasTerminated", "AllModelsHaveTerminated"]


async def test_it_is_told_when_the_broker_is_back() -> None:
    """It is kept as every other message is, and sent until the broker has it (fault M2)."""
    desk = Desk(FakeBroker(acknowledges=False), send_error_occurred=True)
    async with desk.open():
        desk.ask("a")
        desk.fail("a")
        await calm()
        desk.broker.disconnect()
        await calm()
        desk.broker.connect()
        desk.broker.acknowledge()
        await calm()
    again = [sent.topic for sent in desk.broker.sent if sent.connection == 2]
    assert again[1:] == [TOPIC, f"/lifecycle/mso/{SO}/{SIM}/AllModelsHaveTerminated"]
    assert desk.metrics.registry.get_sample_value("mso_messages_sent_total", {"kind": "error_occurred"}) == 1
