"""An intake, and what comes of the messages on it."""

import asyncio
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from mso.aside import Aside
from mso.broker import Message
from mso.changes import Change
from mso.intake import Intake
from mso.inventory import Inventory, Rejected
from mso.model import Capabilities, SimulationId, SimulatorName
from mso.protocol import lifecycle
from mso.protocol.messages import lifecycle_pb2
from tests.builders import SIM
from tests.fakes.record import FakeRecord

MAX_BYTES = 4096
CANARY = "canary-7f3a"
DEPLOY = f"/lifecycle/essim/mso/{SIM}/DeployModels"
DONE = f"/lifecycle/essim/mso/{SIM}/SimulationDone"
READY = f"/lifecycle/model/mso/{SIM}/a/ReadyForProcessing"


def payload(*models: str, **fields: object) -> bytes:
    """A DeployModels of these models, each with a secret in its environment."""
    message = lifecycle_pb2.DeployModels(**fields)  # type: ignore[arg-type]
    for model in models:
        configuration = message.modelConfigurations.add(modelID=model, imageUrl="image:1")
        configuration.environmentVariables.add(name="MQTT_PASSWORD", value=CANARY)
    return message.SerializeToString()


@dataclass
class Desk:
    """An intake, and what comes of the messages on it. What is written down is durable at once."""

    folder: Path
    inventory: Inventory = field(default_factory=Inventory)
    acknowledged: list[str] = field(default_factory=list)
    answers: list[tuple[SimulatorName, SimulationId, bytes]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    record: FakeRecord = field(default_factory=FakeRecord)
    is_well: asyncio.Event = field(default_factory=asyncio.Event)
    """Things can be written down."""
    max_bytes: int = MAX_BYTES

    def __post_init__(self) -> None:
        self.is_well.set()
        self.aside = Aside(self.folder)
        self.inventory.subscribe(self.changes.append)
        self.intake = Intake(
            self.inventory,
            (SimulatorName("essim"), SimulatorName("dots-so")),
            Capabilities(),
            self.aside,
            max_message_bytes=self.max_bytes,
            reject=self._reject,
            write=self.record.write,
            flowing=self._flowing,
            refused=self.refused.append,
            step=lambda _: nullcontext(),
        )

    def _reject(self, simulator: SimulatorName, simulation: SimulationId, rejected: Rejected) -> None:
        self.answers.append((simulator, simulation, lifecycle.deploy_models_rejected(rejected)))

    async def _flowing(self) -> None:
        await self.is_well.wait()

    async def take(
        self,
        topic: str,
        content: bytes = b"",
        *,
        redelivered: bool = False,
        retained: bool = False,
        packet: int = 0,
    ) -> None:
        acknowledge = self.acknowledged
        await self.intake.handle(
            Message(topic, content, redelivered, retained, lambda: acknowledge.append(topic), packet)
        )

    @property
    def models(self) -> int:
        return sum(len(run.models) for run in self.inventory.runs())
