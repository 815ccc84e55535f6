"""Every topic that MSO takes part in, built and taken apart in one place (docs/protocol.md, *Topics*).

Topics begin with `/`, so the first of their parts is empty.
"""

import string
import unicodedata
from dataclasses import dataclass

from mso.model import ModelId, SimulationId, SimulatorName

RESERVED_NAMES = frozenset({"model", "mso"})
"""Names that a simulator cannot have: its topics would be those of another party."""
ILLEGAL_IN_A_LEVEL = "/+#"
SAFE_IN_A_LEVEL = frozenset(string.ascii_letters + string.digits + "-_.")
"""What every broker lets pass; nats-server, for one, hangs up on white space."""


class MalformedTopic(ValueError):
    """No topic of those that MSO subscribes to."""


@dataclass(frozen=True, slots=True)
class DeployModels:
    """A simulator asks for models."""

    simulator: SimulatorName
    simulation: SimulationId


@dataclass(frozen=True, slots=True)
class SimulationDone:
    """A simulator says that a simulation is over."""

    simulator: SimulatorName
    simulation: SimulationId


@dataclass(frozen=True, slots=True)
class ReadyForProcessing:
    """A model says that it has booted; not, whose it is."""

    simulation: SimulationId
    model: ModelId


Address = DeployModels | SimulationDone | ReadyForProcessing


def filters(simulators: tuple[SimulatorName, ...]) -> tuple[str, ...]:
    """The exact filters to subscribe to: never `#`, for the simulation's own traffic must not come this way."""
    return (
        *(f"/lifecycle/{so}/mso/+/DeployModels" for so in simulators),
        *(f"/lifecycle/{so}/mso/+/SimulationDone" for so in simulators),
        "/lifecycle/model/mso/+/+/ReadyForProcessing",
    )


def parse(topic: str) -> Address:
    """Raises MalformedTopic: wrong depth, an empty part, a message that nobody here knows."""
    match topic.split("/"):
        case ["", "lifecycle", "model", "mso", simulation, model, "ReadyForProcessing"] if simulation and model:
            return ReadyForProcessing(SimulationId(simulation), ModelId(model))
        case ["", "lifecycle", so, "mso", simulation, "DeployModels"] if _named(so) and simulation:
            return DeployModels(SimulatorName(so), SimulationId(simulation))
        case ["", "lifecycle", so, "mso", simulation, "SimulationDone"] if _named(so) and simulation:
            return SimulationDone(SimulatorName(so), SimulationId(simulation))
        case _:
            raise MalformedTopic(topic)


def _named(simulator: str) -> bool:
    return bool(simulator) and simulator not in RESERVED_NAMES


def is_legal_id(text: str) -> bool:
    """Whether an id can be one level of a topic, and is no longer than any backplane can keep."""
    return 0 < len(text) <= 256 and not any(_is_illegal(character) for character in text)


def _is_illegal(character: str) -> bool:
    """Brokers may hang up on whoever publishes a control character or a non-character in a topic; Mosquitto does."""
    code = ord(character)
    return (
        character in ILLEGAL_IN_A_LEVEL
        or unicodedata.category(character) == "Cc"  # with NUL
        or 0xFDD0 <= code <= 0xFDEF
        or code & 0xFFFE == 0xFFFE
    )


def simulation_done(simulator: SimulatorName, simulation: SimulationId) -> str:
    """What a simulator says of its simulation, and an operator in its place."""
    return f"/lifecycle/{simulator}/mso/{simulation}/SimulationDone"


def models_ready(simulator: SimulatorName, simulation: SimulationId) -> str:
    return f"/lifecycle/mso/{simulator}/{simulation}/ModelsReady"


def model_has_terminated(simulator: SimulatorName, simulation: SimulationId, model: ModelId) -> str:
    return f"/lifecycle/mso/{simulator}/{simulation}/{model}/ModelHasTerminated"


def error_occurred(simulator: SimulatorName, simulation: SimulationId, model: ModelId) -> str:
    """Part 6 is looked up by simulation orchestrators of version 1 as a message about that model."""
    return f"/lifecycle/mso/{simulator}/{simulation}/{model}/ErrorOccurred"


def all_models_have_terminated(simulator: SimulatorName, simulation: SimulationId) -> str:
    return f"/lifecycle/mso/{simulator}/{simulation}/AllModelsHaveTerminated"


def deploy_models_rejected(simulator: SimulatorName, simulation: SimulationId) -> str:
    return f"/lifecycle/mso/{simulator}/{simulation}/DeployModelsRejected"


def witness_filters(simulators: tuple[SimulatorName, ...], client_id: str) -> tuple[str, ...]:
    """What the witness of this client hears: every ModelsReady for these simulators, and what it says to itself."""
    return (*(models_ready(so, SimulationId("+")) for so in simulators), nonce(client_id))


def nonce(client_id: str) -> str:
    """A topic of our own: no simulation orchestrator listens there. A client id may be no legal level; this one is."""
    level = "".join(
        character if character in SAFE_IN_A_LEVEL else "".join(f"%{byte:02X}" for byte in character.encode())
        for character in client_id
    )
    return f"/mso/{level}/witness"


def status(simulator: SimulatorName) -> str:
    """Retained: whether an MSO serves this simulator."""
    return f"/healthcheck/mso/{simulator}/Status"
