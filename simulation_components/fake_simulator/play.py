"""Play one scenario: ask for the models, follow what is heard until the last has ended, and have it judged."""

import time
from dataclasses import dataclass
from typing import Protocol, assert_never

from fake_simulator.connection import Connection
from fake_simulator.judge import judge
from fake_simulator.scenario import Scenario
from fake_simulator.steps import Steps
from fake_simulator.wire import Announced, Answer, Credentials, Heard, MsoStatus, Received, Topics, deploy_models
from mso.protocol.messages import lifecycle_pb2

LINGER_SECONDS = 0.5
"""How long to listen on after the last message: whatever still comes must not have come."""
PATIENCE_SECONDS = 1.0
"""How long to wait for MSO without a word about it."""
LAST_WORDS = ("AllModelsHaveTerminated", "DeployModelsRejected")


def is_tenth(done: int, steps: int) -> bool:
    """Whether this step completes a tenth of them: often enough for whoever tells it in lines."""
    return done * 10 // steps > (done - 1) * 10 // steps


class Narrator(Protocol):
    """Who tells the world what happens, while it happens."""

    def waiting_for_mso(self, seconds: float) -> None: ...

    def asking(self, scenario: Scenario, topic: str) -> None: ...

    def heard(self, message: Received | Announced | MsoStatus) -> None: ...

    def stepped(self, done: int, steps: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a scenario."""

    scenario: Scenario
    simulator: str
    received: tuple[Received, ...]
    """From MSO, in order."""
    announced: frozenset[str]
    """The models that were overheard to announce ReadyForProcessing."""
    differences: tuple[str, ...]
    """Empty if and only if everything was as the scenario expects."""
    steps_per_second: float | None


def play(
    scenario: Scenario,
    simulator: str,
    credentials: Credentials,
    model_credentials: Credentials,
    narrator: Narrator,
    *,
    silence: float,
    wait_for_mso: float,
) -> Outcome:
    """Play it to the end. Gives up when nothing was heard for `silence` seconds, and then says what is missing.

    Whatever ends it early (that, or a signal): MSO and the models are told that the simulation is over, so that none of
    them is left running. Raises BrokerUnreachable.
    """
    topics = Topics(simulator, scenario.simulation)
    with Connection(credentials, topics.subscriptions(scenario)) as connection:
        performance = _Performance(scenario, topics, connection, narrator)
        if scenario.protocol_version > 1:
            performance.wait_for_mso(wait_for_mso)
        try:
            performance.ask(deploy_models(scenario, simulator, model_credentials))
            performance.follow(silence)
        finally:
            performance.leave()
    return performance.outcome(simulator)


class _Performance:
    """One playing of one scenario: what was heard so far, and what is to be done about it."""

    def __init__(self, scenario: Scenario, topics: Topics, connection: Connection, narrator: Narrator) -> None:
        self._scenario = scenario
        self._topics = topics
        self._connection = connection
        self._narrator = narrator
        self._received: list[Received] = []
        self._announced: set[str] = set()
        self._mso_online = False
        self._steps = Steps(scenario.model_ids, scenario.steps, self._send_to_model)
        self._steps_began: float | None = None
        self._steps_ended: float | None = None
        self._complete = False
        self._told_mso = False
        self._gave_up = ""

    def wait_for_mso(self, seconds: float) -> None:
        """Wait for the (retained) word that an MSO is there. Without it, go on: it may be away and come back."""
        deadline = time.monotonic() + seconds
        told = False
        while not self._mso_online and (left := deadline - time.monotonic()) > 0:
            try:
                self._take(self._connection.next(left if told else min(left, PATIENCE_SECONDS)))
            except TimeoutError:
                if not told:
                    self._narrator.waiting_for_mso(seconds)
                told = True

    def ask(self, request: bytes) -> None:
        topic = self._topics.to_mso("DeployModels")
        self._narrator.asking(self._scenario, topic)
        self._connection.start_clock()
        self._connection.send(topic, request)

    def follow(self, silence: float) -> None:
        """Take what comes until all has been said, and a moment longer."""
        while not self._complete:
            try:
                self._take(self._connection.next(silence))
            except TimeoutError:
                self._gave_up = f"gave up: nothing was heard for {silence:g} s"
                return
        until = time.monotonic() + LINGER_SECONDS
        while (left := until - time.monotonic()) > 0:
            try:
                self._take(self._connection.next(left))
            except TimeoutError:
                return

    def leave(self) -> None:
        if not self._complete:
            self._end_simulation()

    def outcome(self, simulator: str) -> Outcome:
        differences = judge(self._scenario, self._received, self._announced, self._steps.done)
        duration = (self._steps_ended or 0) - (self._steps_began or 0)
        return Outcome(
            scenario=self._scenario,
            simulator=simulator,
            received=tuple(self._received),
            announced=frozenset(self._announced),
            differences=(self._gave_up, *differences) if self._gave_up else differences,
            steps_per_second=self._steps.done / duration if duration > 0 else None,
        )

    def _take(self, message: Heard) -> None:
        match message:
            case Received():
                self._received.append(message)
                self._narrator.heard(message)
                self._complete = self._complete or message.name in LAST_WORDS
                if self._scenario.steps and message.name == "ModelsReady":
                    self._steps_began = time.monotonic()
                    self._steps.begin()
                if self._scenario.steps and message.name == "ModelHasTerminated":
                    self._end_simulation()  # with a model missing no step can be completed
            case Announced():
                self._announced.add(message.model)
                self._narrator.heard(message)
            case MsoStatus():
                self._mso_online = message.online
                self._narrator.heard(message)
            case Answer():
                if self._steps.answered(message.model, message.name):
                    self._steps_ended = time.monotonic()
                    self._narrator.stepped(self._steps.done, self._scenario.steps)
                if self._steps.over:
                    self._end_simulation()
            case _:
                assert_never(message)

    def _end_simulation(self) -> None:
        self._steps.end()
        if not self._told_mso:
            self._told_mso = True
            done = lifecycle_pb2.SimulationDone().SerializeToString()
            self._connection.send(self._topics.to_mso("SimulationDone"), done)

    def _send_to_model(self, model: str, name: str, payload: bytes) -> None:
        self._connection.send(self._topics.to_model(model, name), payload)
