"""Status: what lives now and how it stands. It needs no service, and disturbs none.

The truth is the ledger: it holds every state within a turn of the service's loop, it is there when the service is not,
and it can be read beside it, also from another machine where it is a database. What it does not know is whether anybody
goes on writing it; that the service itself says, where its HTTP surface is to be reached (fault O2).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mso import history
from mso.ledger import Ledger, PastModel, RunSummary
from mso.model import State
from mso.supervision import Said
from mso.wording import age, listed, one_line

RUNS_AT_MOST = 10_000

_STYLES = {"running": "green", "ready": "green", "succeeded": "green", "failed": "red", "stopping": "yellow"}


@dataclass(frozen=True, slots=True)
class Simulation:
    """The newest run of a simulation."""

    run: RunSummary
    withheld: bool = False
    """Its ModelsReady was withheld, because nobody knows whether it went out."""
    models: tuple[PastModel, ...] | None = field(default=None, repr=False)
    """None where they were not asked for."""

    @property
    def standing(self) -> str:
        """As in the history; and `waiting` where none of its models has been created."""
        if self.run.standing == "not ready" and 0 < self.run.undeployed == sum(self.run.tally.values()):
            return "waiting"
        return self.run.standing

    @property
    def laggards(self) -> list[str]:
        """What ModelsReady waits for."""
        if self.run.standing != "not ready":
            return []
        return [one.model.key.model for one in self.models or () if one.model.state is State.CREATED]

    @property
    def failed(self) -> list[str]:
        return [one.model.key.model for one in self.models or () if one.model.state is State.FAILED]


@dataclass(frozen=True, slots=True)
class Status:
    """What was found."""

    simulations: tuple[Simulation, ...]
    service: Said | None = None
    """What the service says; None if none answers on this machine."""
    asked: bool = True
    """Whether one was asked: it may have no HTTP surface."""


async def of_all(ledger: Ledger, *, ended: bool) -> tuple[Simulation, ...]:
    """What lives, the last opened first; with `ended` also what is kept of those that have. Raises LedgerError."""
    runs = await ledger.runs(limit=RUNS_AT_MOST, left=True)
    wanted = [run for run in runs if ended or run.record.ended_at is None]
    return tuple([Simulation(run, await _is_withheld(ledger, run)) for run in wanted])


async def of_one(ledger: Ledger, simulation: str) -> Simulation:
    """Its newest run, with the models. Raises history.UnknownError and LedgerError."""
    run = await history.find(ledger, simulation)
    return Simulation(run, await _is_withheld(ledger, run), await ledger.models(run.record.key))


async def _is_withheld(ledger: Ledger, run: RunSummary) -> bool:
    return run.standing == "ready" and await ledger.withheld(run.record.key.simulation) is not None


# -- for other programs ---------------------------------------------------------------------------------------------

Json = dict[str, object]


def as_json(status: Status, *, one: bool) -> Json:
    """What `--json` prints; its fields are described in the help, and stay."""
    service = None
    if status.asked:
        said = status.service
        service = {
            "alive": said is not None,
            "ready": said is not None and said.ok,
            "reasons": list(said.reasons) if said else [],
        }
    simulations = [_simulation(simulation) for simulation in status.simulations]
    if not one:
        return {"service": service, "simulations": simulations}
    models = [_model(past) for past in status.simulations[0].models or ()]
    return {"service": service, "simulation": simulations[0], "models": models}


def _simulation(simulation: Simulation) -> Json:
    run, record = simulation.run, simulation.run.record
    return {
        "simulation": record.key.simulation,
        "run": record.key.run,
        "simulator": record.request.simulator,
        "state": simulation.standing,
        "ready": record.announced,
        "ready_withheld": simulation.withheld,
        "models": sum(run.tally.values()),
        **{state.value: run.tally.get(state, 0) for state in State},
        "undeployed": run.undeployed,
        "opened": _time(run.opened_at),
        "ended": _time(record.ended_at),
        "reported": _time(record.reported_at),
    }


def _model(past: PastModel) -> Json:
    model = past.model
    return {
        "model": model.key.model,
        "state": model.state.value,
        "ready": model.ready,
        "deployed": past.deployed,
        "attempt": model.attempt,
        "since": _time(model.since),
        "reason": str(model.reason) if model.reason else None,
        "exit_code": model.exit_code,
        "message": model.message,
        "node": model.node,
        "image": model.spec.image,
        "created": _time(model.created_at),
        "started": _time(model.started_at),
        "finished": _time(model.finished_at),
    }


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


# -- for people -----------------------------------------------------------------------------------------------------


def as_page(status: Status, now: datetime, *, one: bool) -> Group:
    """What a terminal shows. What matters stands above the table: of one that is too long its end is cut off."""
    parts: list[RenderableType] = [_service(status)] if status.asked else []
    if one:
        parts += _one(status.simulations[0], now)
    elif status.simulations:
        parts += [*_notes(status.simulations), _runs(status.simulations, now)]
    else:
        parts.append(Text("no simulation lives; mso status --all and mso history list those that were"))
    return Group(*parts)


def _service(status: Status) -> Text:
    match status.service:
        case None:
            return Text("service: none answers on this machine; this is what the ledger has", style="yellow")
        case Said(ok=True):
            return Text("service: alive and ready")
        case Said(reasons=reasons):
            return Text(f"service: alive, not ready: {one_line('; '.join(reasons), 300)}", style="yellow")


def _runs(simulations: Sequence[Simulation], now: datetime) -> Table:
    table = _table(("simulation", "run", "simulator", "state", "age", "models"), folding=("simulation", "models"))
    for simulation in simulations:
        run, key = simulation.run, simulation.run.record.key
        began = run.record.ended_at or run.opened_at
        _add(
            table,
            key.simulation,
            key.run,
            run.record.request.simulator,
            simulation.standing,
            now - began if began else None,
            _counts(run),
        )
    return table


def _counts(run: RunSummary) -> str:
    return ", ".join(f"{run.tally[state]} {state.value}" for state in State if run.tally.get(state)) or "no models"


def _notes(simulations: Sequence[Simulation]) -> Iterator[Text]:
    if waiting := [one.run.record.key.simulation for one in simulations if one.standing == "waiting"]:
        yield Text(
            f"waiting: {listed(list(waiting))}: no model of it was created yet; it waits for room "
            "(MSO_MAX_ACTIVE_PODS), for where models run, or for the service"
        )
    for one in simulations:
        if one.withheld:
            yield _withheld(one)


def _withheld(simulation: Simulation) -> Text:
    name = one_line(simulation.run.record.key.simulation)
    return Text(
        f"{name}: its ModelsReady was withheld, nobody knows whether it went out: see whether the simulation has "
        f"begun, and if not: mso resend-ready {name}",
        style="yellow",
    )


def _one(simulation: Simulation, now: datetime) -> Iterator[RenderableType]:
    run, key = simulation.run, simulation.run.record.key
    since = f", opened {age(now - run.opened_at)} ago" if run.opened_at else ""
    if run.record.ended_at:
        since += f", ended {age(now - run.record.ended_at)} ago"
        if run.record.reported_at is None:
            since += "; the broker has not taken its AllModelsHaveTerminated yet"
    yield Text(
        f"{one_line(key.simulation)}: run {key.run} for {one_line(run.record.request.simulator)}, {simulation.standing}"
        f"{since}: {_counts(run)}"
    )
    if simulation.standing == "waiting":
        yield from _notes([simulation])
    elif laggards := simulation.laggards:
        yield Text(f"not ready yet: {listed(laggards)}", style="yellow")
    if simulation.withheld:
        yield _withheld(simulation)
    if failed := simulation.failed:
        hint = f"mso logs {one_line(key.simulation)} {one_line(failed[0])}"
        yield Text(f"failed: {listed(failed)}; what they wrote last: {hint}", style="red")
    table = _table(
        ("model", "state", "ready", "attempt", "age", "reason", "exit", "node", "message"),
        folding=("model", "node", "message"),
    )
    for past in simulation.models or ():
        model = past.model
        message = model.message or ("" if past.deployed or model.state.terminal else "not created yet")
        _add(
            table,
            model.key.model,
            model.state.value,
            "yes" if model.ready else "no",
            model.attempt,
            now - model.since,
            model.reason,
            model.exit_code,
            model.node,
            message,
        )
    yield table


def _table(names: Sequence[str], folding: Sequence[str]) -> Table:
    """On a narrow terminal those of these names are folded, and the others stay in one line."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in names:
        number = name in ("run", "attempt", "exit")
        table.add_column(name, justify="right" if number else "left", overflow="fold", no_wrap=name not in folding)
    return table


def _add(table: Table, *values: object) -> None:
    # As Text: in what is only a string rich takes words in brackets for its markup.
    table.add_row(*(Text(text, style=_STYLES.get(text, "")) for text in map(one_line, values)))
