"""What a simulation orchestrator asks for, in short: whatever a test does not name has an unremarkable value."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from mso.inventory import Inventory, Run
from mso.model import (
    Attempt,
    EnvironmentVariable,
    Failed,
    Model,
    ModelId,
    ModelKey,
    ModelSpec,
    Order,
    Reason,
    Request,
    RunKey,
    SimulationId,
    SimulatorName,
)

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
SO = SimulatorName("essim")
SIM = SimulationId("sim-1")
RUN = RunKey(SIM, 1)


@dataclass
class Clock:
    """Stands still until it is moved."""

    time: datetime = NOW

    def __call__(self) -> datetime:
        return self.time

    def move(self, seconds: float) -> datetime:
        self.time += timedelta(seconds=seconds)
        return self.time


def spec(model: str = "m-0", image: str = "image:1", **fields: Any) -> ModelSpec:
    fields.setdefault("environment", (EnvironmentVariable("MODEL_ID", model),))
    return ModelSpec(ModelId(model), image, **fields)


def request(simulation: str = SIM, simulator: str = SO, **fields: Any) -> Request:
    fields.setdefault("digest", "digest-1")
    return Request(SimulatorName(simulator), SimulationId(simulation), **fields)


def order(*models: str | ModelSpec, redelivered: bool = False, **fields: Any) -> Order:
    """Of models by id or specification; `fields` are those of the request."""
    specs = tuple(spec(model) if isinstance(model, str) else model for model in models or ("m-0",))
    return Order(request(**fields), specs, redelivered)


def key(model: str = "m-0", run: int = 1, simulation: str = SIM) -> ModelKey:
    return ModelKey(SimulationId(simulation), run, ModelId(model))


def attempt(model: str = "m-0", number: int = 1, run: int = 1, simulation: str = SIM) -> Attempt:
    return Attempt(key(model, run, simulation), number)


def model(name: str = "m-0", run: int = 1, simulation: str = SIM, **fields: Any) -> Model:
    """One that was just asked for."""
    values: dict[str, Any] = {
        "spec": spec(name),
        "request": request(simulation),
        "created_at": NOW,
        "since": NOW,
    }
    return Model(key(name, run, simulation), **(values | fields))


def crash(exit_code: int = 1, reason: Reason = Reason.ERROR, **fields: Any) -> Failed:
    return Failed(exit_code, reason, **fields)


def live_runs(inventory: Inventory) -> list[Run]:
    """Those that have not ended."""
    return [run for run in inventory.runs() if run.ended_at is None]


def known(inventory: Inventory, about: ModelKey) -> Model:
    """The model as it is now."""
    found = inventory.model(about)
    assert found is not None
    return found


def without(found: Model, **fields: Any) -> Model:
    """The same model but for these fields."""
    return replace(found, **fields)
