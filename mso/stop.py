"""Stopping by hand: the running service is told SimulationDone, as its simulation orchestrator would tell it.

It goes the way that is there: over MQTT, at QoS 1, under the topic of the run's simulation orchestrator. So there is
one way in which a run comes to be stopped, which is durable and acknowledged, and no new door that would have to be
locked: who may publish there may stop. To write it into the ledger is no way, because a ledger has one writer, and to
ask for it over HTTP would let everybody stop what can reach the probes.

An acknowledgement says that the broker has the message, not that MSO has it, and not even that this user may publish
there. So what comes of it is read in the ledger.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from mso import history
from mso.broker import Broker, ConnectionLost
from mso.ledger import Ledger, LedgerError, RunSummary
from mso.model import SimulationId, SimulatorName, State
from mso.protocol import lifecycle, topics
from mso.wording import age

CONNECT_SECONDS = 15.0
ACKNOWLEDGE_SECONDS = 15.0
NOTICE_SECONDS = 15.0
"""How long a service that runs may take to write down that it has heard of it."""
LOOK_SECONDS = 0.5


class NotStoppedError(Exception):
    """It was not stopped, or not within the time: why, and what can be done."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be stopped, and by whose word."""

    simulation: SimulationId
    simulator: SimulatorName

    @property
    def topic(self) -> str:
        return topics.simulation_done(self.simulator, self.simulation)


async def target_of(ledger: Ledger, simulation: str) -> tuple[Target, RunSummary]:
    """The newest run of a simulation, which may have ended already. Raises history.UnknownError and LedgerError."""
    run = await history.find(ledger, simulation)
    return Target(run.record.key.simulation, run.record.request.simulator), run


async def tell(broker: Broker, target: Target) -> None:
    """Publish SimulationDone. Returns when the broker has it. Raises NotStoppedError."""
    if not topics.is_legal_id(target.simulation):
        raise NotStoppedError(f"{target.simulation!r} is no id of a simulation")
    async with broker:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await broker.connected()
        except TimeoutError:
            raise NotStoppedError(
                f"the broker cannot be reached within {CONNECT_SECONDS:.0f} s: mso doctor says more"
            ) from None
        try:
            async with asyncio.timeout(ACKNOWLEDGE_SECONDS):
                await broker.publish(target.topic, lifecycle.simulation_done())
        except (ConnectionLost, TimeoutError):
            raise NotStoppedError(
                "the connection broke before the broker acknowledged: the same command once more does no harm"
            ) from None


async def wait_for_end(
    ledger: Ledger, run: RunSummary, *, seconds: float, user: str, say: Callable[[str], None]
) -> timedelta:
    """Wait until the run has ended, and say what changes meanwhile; how long it took.

    Raises NotStoppedError when nobody has noticed after NOTICE_SECONDS, or it has not ended after `seconds`, and
    UnusableLedgerError. A ledger that cannot be read for a moment is looked at again.
    """
    began = time.monotonic()
    said = trouble = ""
    while True:
        try:
            now = await history.find(ledger, run.record.key.simulation, run.record.key.run)
            trouble = ""
        except LedgerError as error:
            trouble = f" (the ledger cannot be read: {error})"
        else:
            if now.record.ended_at:
                return timedelta(seconds=time.monotonic() - began)
            if now.record.stopping and said != (said := f"stopping: {_living(now)}"):
                say(said)
        waited = time.monotonic() - began
        if not said and waited >= min(NOTICE_SECONDS, seconds):
            raise NotStoppedError(_unnoticed(run, waited, user) + trouble)
        if waited >= seconds:
            raise NotStoppedError(
                f"after {age(timedelta(seconds=waited))} it has not ended ({said}); MSO goes on with it. mso status "
                f"{run.record.key.simulation} shows what lives; mso cleanup removes it without asking{trouble}"
            )
        await asyncio.sleep(LOOK_SECONDS)


def _living(run: RunSummary) -> str:
    living = sum(run.tally.get(state, 0) for state in State if not state.terminal)
    return f"{living} of {sum(run.tally.values())} models live"


def _unnoticed(run: RunSummary, waited: float, user: str) -> str:
    target = Target(run.record.key.simulation, run.record.request.simulator)
    return (
        f"the broker has the message, and nobody has acted upon it for {waited:.0f} s. Either no MSO for "
        f"{target.simulator} runs: the next one to start stops the simulation, if the broker has kept its session. "
        f"Or its access rules do not let the user {user!r} publish to {target.topic}, and no broker says so. mso "
        "status says whether an MSO is there"
    )
