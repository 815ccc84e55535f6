"""What a simulation orchestrator asks for, in short: whatever a test does not name has an unremarkable value."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from mso.inventory import Inventory
from mso.ledger import KnownModel, KnownRun, Recovered, RequestKept, RunRecord
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
from mso.outbox import Kind, Row
from mso.runs import Run

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


def order(*models: str | ModelSpec, redelivered: bool = False, delivery: int = 0, **fields: Any) -> Order:
    """Of models by id or specification; `fields` are those of the request."""
    specs = tuple(spec(model) if isinstance(model, str) else model for model in models or ("m-0",))
    return Order(request(**fields), specs, redelivered, delivery)


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


def run_of(*models: Model, number: int = 1, simulation: str = SIM, **fields: Any) -> Run:
    """A run of these models, as if an earlier process had written it down."""
    asked = fields.pop("request", models[-1].request if models else request(simulation))
    run = Run(RunKey(SimulationId(simulation), number), asked, **fields)
    run.note(asked)
    for one in models:
        run.digests.add(one.request.digest)
        run.put(one)
    return run


def kept(*models: Model, deployed: bool = True, **record: Any) -> KnownRun:
    """A run of these as it was written down last."""
    asked, run = models[0].request, models[0].key.run_key
    return KnownRun(
        RunRecord(run, asked, **record),
        (RequestKept(run, asked.digest),),
        tuple(KnownModel(one, deployed) for one in models),
    )


def left(*runs: KnownRun) -> Recovered:
    """All that an earlier process left."""
    return Recovered(runs, bygone=(), taken=(), rows=(), last_row=0, notes={})


def a_row(number: int = 1, kind: Kind = Kind.TERMINATION, simulation: str = SIM, **fields: Any) -> Row:
    """A message of run 1 that waits to be told."""
    values: dict[str, Any] = {"topic": f"/{kind.name}", "payload": b"", "run": RunKey(SimulationId(simulation), 1)}
    return Row(number, kind, SimulationId(simulation), **(values | fields))


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
