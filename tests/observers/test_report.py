"""What the simulation orchestrator hears, over a broker that is there, and acknowledges, when the test says so."""

import asyncio
from contextlib import nullcontext

import pytest
from structlog.testing import capture_logs

from mso.backplane import BackplaneError
from mso.inventory import Rejected
from mso.model import Attempt, ModelSpec, Reason, SimulationId, SimulatorName, Succeeded
from mso.observers.post_mortem import PostMortem
from mso.observers.report import WINDOW
from mso.protocol.messages import lifecycle_pb2
from tests.builders import RUN, SIM, SO, attempt, crash, key
from tests.fakes.backplane import FakeBackplane
from tests.fakes.broker import FakeBroker
from tests.happening import calm, running
from tests.observers.desk import Desk, terminated

# -- what is said -----------------------------------------------------------------------------------------------------


async def test_a_run_that_cannot_be_marked_now_holds_up_no_other() -> None:
    """Its ModelsReady and what comes after it wait; other simulations are served."""
    desk = Desk()
    desk.may_mark.clear()
    async with desk.open():
        desk.ask("a")
        desk.make_ready("a")
        desk.end("a")
        desk.ask("b", simulation="sim-2")
        desk.inventory.apply(attempt("b", simulation="sim-2"), Succeeded())
        await calm()
        assert desk.heard == ["b ModelHasTerminated", "AllModelsHaveTerminated"]
        desk.may_mark.set()
        await calm()
    assert desk.heard[2:] == ["ModelsReady", "a ModelHasTerminated", "AllModelsHaveTerminated"]


async def test_a_termination_of_version_1_waits_for_no_log() -> None:
    """It says how the model ended, and no more than version 1 has words for."""
    desk = Desk()
    async with desk.open():
        desk.ask("a", "b")
        desk.fail("a")
        desk.end("b")
        await calm()
    assert desk.heard == ["a ModelHasTerminated", "b ModelHasTerminated", "AllModelsHaveTerminated"]
    assert [sent.payload.hex(" ") for sent in desk.broker.sent] == ["08 01 10 03", "", ""]


async def test_a_failed_model_of_version_2_is_reported_with_its_last_lines() -> None:
    """Its termination waits for them, and AllModelsHaveTerminated waits behind it; that of another one does not."""
    desk = Desk()
    async with desk.open():
        desk.ask("a", "b", version=2)
        desk.fail("a")
        desk.end("b")
        await calm()
        assert desk.heard == ["b ModelHasTerminated"]
        desk.report.release(key("a"), ("it did", "not work"))
        await calm()
    assert desk.heard[1:] == ["a ModelHasTerminated", "AllModelsHaveTerminated"]
    message = terminated(desk.broker.sent[1])
    assert (message.exitCode, message.reason, list(message.lastLogLines)) == (3, "Error", ["it did", "not work"])


@pytest.mark.parametrize(
    ("version", "said"),
    ((1, ""), (2, "0/3 nodes are available\nFailedScheduling: no memory\nNotTriggerScaleUp: no room")),
)
async def test_what_the_backplane_warned_of_is_in_the_message(version: int, said: str) -> None:
    """Of version 2; version 1 has no words for it, and gets the bytes that it always got (fault P7)."""
    desk, backplane = Desk(), FakeBackplane()
    backplane.world.warnings[attempt()] = ["FailedScheduling: no memory", "NotTriggerScaleUp: no room"]
    post_mortem = PostMortem(
        backplane, step=lambda _: nullcontext(), release=desk.report.release, examined=lambda *_: None
    )
    desk.inventory.subscribe(post_mortem.observe)
    async with desk.open(), running(post_mortem.run()):
        desk.ask("m-0", version=version)
        desk.inventory.apply(attempt(), crash(-1, Reason.UNSCHEDULABLE, message="0/3 nodes are available"))
        await calm()
    message = terminated(desk.broker.sent[0])
    assert (message.exitCode, message.message) == (-1, said)
    if version == 1:
        assert desk.broker.sent[0].payload.hex() == "080110ffffffffffffffffff01"


async def test_lines_that_come_too_late_are_not_sent() -> None:
    """A termination goes once: without them, when it has waited for long enough."""
    desk = Desk()
    async with desk.open():
        desk.ask("m-0", version=2)
        desk.fail()
        desk.report.release(key(), ())
        desk.report.release(key(), ("late",))
        await calm()
        desk.report.release(key(), ("later",))
        await calm()
    assert desk.heard == ["m-0 ModelHasTerminated", "AllModelsHaveTerminated"]
    assert list(terminated(desk.broker.sent[0]).lastLogLines) == []


class Silent(FakeBackplane):
    """Its logs cannot be read for ever, until the connection to them breaks."""

    def __init__(self) -> None:
        super().__init__()
        self.breaks = asyncio.Event()

    async def tail(self, attempt: Attempt, lines: int) -> tuple[str, ...]:
        await self.breaks.wait()
        raise BackplaneError("no log")


async def test_a_log_that_cannot_be_read_holds_up_a_termination_for_a_moment_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Then it goes without (fault L2)."""
    monkeypatch.setattr("mso.observers.post_mortem.TERMINATION_WAITS_SECONDS", 0.05)
    desk, silent = Desk(), Silent()
    post_mortem = PostMortem(
        silent, step=lambda _: nullcontext(), release=desk.report.release, examined=lambda *_: None
    )
    desk.inventory.subscribe(post_mortem.observe)
    async with desk.open(), running(post_mortem.run()):
        desk.ask("m-0", version=2)
        desk.fail()
        await calm()
        assert desk.heard == []
        await desk.until(lambda: desk.heard[1:])
        silent.breaks.set()
        await post_mortem.settled(RUN)
        await calm()
    assert desk.heard == ["m-0 ModelHasTerminated", "AllModelsHaveTerminated"]
    assert list(terminated(desk.broker.sent[0]).lastLogLines) == []


async def test_a_retry_is_not_reported() -> None:
    """Only the last attempt of a model is its end."""
    desk = Desk()
    async with desk.open():
        desk.ask(ModelSpec(key().model, "image:1", retries=1), version=2)
        desk.fail()
        await calm()
        assert desk.heard == []
        desk.inventory.apply(attempt(number=2), Succeeded())
        await calm()
    assert terminated(desk.broker.sent[0]).attempt == 2


async def test_a_request_that_is_not_taken_is_answered() -> None:
    """With the reason, all errors, and the versions that are spoken."""
    desk = Desk()
    async with desk.open():
        rejected = Rejected("the request cannot be taken", ["no models", "no sense"])
        desk.report.reject(SimulatorName("other-so"), SimulationId("sim-9"), rejected)
        await calm()
    (sent,) = desk.broker.sent
    assert sent.topic == "/lifecycle/mso/other-so/sim-9/DeployModelsRejected"
    assert lifecycle_pb2.DeployModelsRejected.FromString(sent.payload) == lifecycle_pb2.DeployModelsRejected(
        reason="the request cannot be taken",
        errors=["no models", "no sense"],
        minProtocolVersion=1,
        maxProtocolVersion=2,
    )


# -- what was acknowledged --------------------------------------------------------------------------------------------


async def test_a_termination_is_told_as_sent_when_the_broker_has_it() -> None:
    """In the log and in the count; to have been handed over is not enough."""
    desk = Desk(FakeBroker(acknowledges=False))
    sent = "mso_terminations_sent_total"
    async with desk.open():
        desk.ask("a", "b")
        with capture_logs() as logs:
            desk.fail("a")
            await calm()
            assert (logs, desk.metrics.registry.get_sample_value(sent)) == ([], 0)
            desk.broker.acknowledge(1)
            await calm()
    told = {"event": "termination.sent", "log_level": "info", "simulation": SIM, "run": 1, "model": "a"}
    assert (logs, desk.metrics.registry.get_sample_value(sent)) == ([told], 1)


async def test_there_is_nothing_more_to_tell_of_a_run_when_the_broker_has_its_last_word() -> None:
    """Then, and not before, it may be removed."""
    desk = Desk(FakeBroker(acknowledges=False))
    async with desk.open():
        desk.ask("m-0")
        desk.end("m-0")
        await calm()
        desk.broker.acknowledge(1)
        await calm()
        assert desk.heard[-1] == "AllModelsHaveTerminated"
        assert desk.reported == []
        desk.broker.acknowledge(1)
        await calm()
    assert desk.reported == [RUN]


async def test_emptied_waits_for_every_acknowledgement() -> None:
    """What a clean end of the service waits for: nothing is unsent."""
    desk = Desk(FakeBroker(acknowledges=False))
    async with desk.open():
        await desk.report.emptied()
        desk.ask("m-0")
        desk.end("m-0")
        waiting = asyncio.create_task(desk.report.emptied())
        for _ in range(2):
            await calm()
            assert not waiting.done()
            desk.broker.acknowledge(1)
        await waiting
    assert (len(desk.outbox), desk.reported) == (0, [RUN])


async def test_more_messages_than_the_window_holds_go_in_turn() -> None:
    """No more than that are on their way at once; each one goes, once, and the last word comes last."""
    desk = Desk(FakeBroker(acknowledges=False))
    names = [f"m-{number}" for number in range(500)]
    async with desk.open():
        desk.ask(*names)
        desk.end(*names)
        handed_over = []
        for _ in range(4):
            await calm()
            handed_over.append(len(desk.broker.sent))
            desk.broker.acknowledge(WINDOW)
        await calm()
    assert (WINDOW, len(desk.outbox)) == (200, 0)
    assert handed_over == [200, 400, 500, 501]
    assert desk.heard == [*(f"{name} ModelHasTerminated" for name in names), "AllModelsHaveTerminated"]


async def test_one_acknowledgement_lets_one_more_go() -> None:
    """The window moves on with each of them, not only when it is empty."""
    desk = Desk(FakeBroker(acknowledges=False))
    names = [f"m-{number}" for number in range(WINDOW + 5)]
    async with desk.open():
        desk.ask(*names)
        desk.end(*names)
        await calm()
        desk.broker.acknowledge(2)
        await calm()
        assert len(desk.broker.sent) == WINDOW + 2


# -- connections that end ---------------------------------------------------------------------------------------------


async def test_what_arises_while_the_broker_is_away_goes_when_it_is_back() -> None:
    """In order, and nothing is lost (fault M2)."""
    desk = Desk(FakeBroker(connected=False))
    async with desk.open():
        desk.ask("a", "b")
        desk.make_ready("a", "b")
        desk.fail("b")
        desk.end("a")
        await calm()
        assert desk.heard == []
        desk.broker.connect()
        await calm()
    assert desk.heard == ["ModelsReady", "b ModelHasTerminated", "a ModelHasTerminated", "AllModelsHaveTerminated"]


async def test_what_was_not_acknowledged_goes_again_in_its_old_order() -> None:
    """What was acknowledged does not, and what arose meanwhile comes behind it."""
    desk = Desk(FakeBroker(acknowledges=False))
    async with desk.open():
        desk.ask("a", "b", "c", "d")
        desk.end("a", "b", "c")
        await calm()
        desk.broker.acknowledge(1)
        desk.broker.disconnect()
        desk.end("d")
        await calm()
        assert len(desk.broker.sent) == 3
        desk.broker.connect()
        desk.broker.acknowledge()
        await calm()
    again = [sent for sent in desk.broker.sent if sent.connection == 2]
    assert [sent.topic.split("/")[5] for sent in again] == ["b", "c", "d", "AllModelsHaveTerminated"]


async def test_a_message_that_can_never_go_is_given_up_alone() -> None:
    """The broker's edge refuses it for what it is: to try it again would hold up all the others for ever."""
    desk = Desk()
    desk.broker.unsendable.add(f"/lifecycle/mso/{SO}/{SIM}/a/ModelHasTerminated")
    async with desk.open():
        with capture_logs() as logs:
            desk.ask("a", "b")
            desk.end("a", "b")
            await desk.report.emptied()
    assert desk.heard == ["b ModelHasTerminated", "AllModelsHaveTerminated"]
    (given_up,) = [event for event in logs if event["event"] == "message.unsendable"]
    assert (given_up["log_level"], given_up["simulation"]) == ("error", SIM)


async def test_a_termination_says_why_the_model_ended() -> None:
    """Version 2 has a word for it."""
    desk = Desk()
    async with desk.open():
        desk.ask("m-0", version=2)
        desk.inventory.apply(attempt(), crash(-1, Reason.POD_DELETED, message="it is gone"))
        desk.report.release(key(), ())
        await calm()
    message = terminated(desk.broker.sent[0])
    assert (message.status, message.exitCode, message.reason, message.message) == (
        lifecycle_pb2.FAILED,
        -1,
        "PodDeleted",
        "it is gone",
    )
