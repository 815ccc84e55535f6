"""The inventory: which models live, and what that means for their simulations. Pure, synchronous, in memory.

Every fact goes in through `add`, `adopt`, `apply`, `stop`, `begin_removal` and `forget`; every consequence comes out as
Changes to the observers, in order, after the state is whole again. Nothing here awaits, so nothing here needs a lock.
The rules are those of docs/protocol.md, *Runs* and *Stopping*.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

from mso.changes import (
    Change,
    ModelAdded,
    ModelChanged,
    ModelRemoved,
    Observer,
    SimulationAdded,
    SimulationAdopted,
    SimulationEnded,
    SimulationExtended,
    SimulationForgotten,
    SimulationReady,
    SimulationRemoving,
    SimulationReported,
    SimulationRestored,
    SimulationStopping,
)
from mso.model import (
    NO_EXIT_CODE,
    TRANSITIONS,
    Attempt,
    End,
    Event,
    Failed,
    FailurePolicy,
    Mark,
    Model,
    ModelKey,
    ModelSpec,
    Order,
    Ready,
    Reason,
    Retry,
    RunKey,
    SimulationId,
    State,
)
from mso.runs import Run, Simulation

REMEMBERED_SIMULATIONS = 10_000
"""Of how many simulations that left no run behind the last run is remembered, to know a redelivery from a rerun."""

ENDED_BY_SIGTERM = 143
"""Reported for a model that answered its removal with exit code 0: FAILED never carries a 0."""


class Rejected(Exception):
    """The request as a whole cannot be taken; nothing of it was done."""

    def __init__(self, reason: str, errors: Iterable[str] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.errors = tuple(errors)


class ObserverFailed(RuntimeError):
    """An observer raised: some have heard of a Change and others never will, so nothing here can be trusted."""


class UnknownModel(LookupError):
    """No run that is remembered has such a model."""


class Inventory:
    """Which models live. One instance, on one thread."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC), max_models: int | None = None) -> None:
        """`max_models` is how many models a run may have; None is no limit."""
        self._now = now
        self._max_models = max_models
        self._simulations: dict[SimulationId, Simulation] = {}
        self._bygone: OrderedDict[SimulationId, None] = OrderedDict()
        self._observers: list[Observer] = []
        self._pending: list[Change] = []
        self._telling = False

    # -- asking ---------------------------------------------------------------------------------------------------

    def runs(self) -> Iterator[Run]:
        """Every run that is live, or kept for its logs."""
        for simulation in self._simulations.values():
            yield from simulation.runs.values()

    def run(self, key: RunKey) -> Run | None:
        simulation = self._simulations.get(key.simulation)
        return simulation.runs.get(key.run) if simulation else None

    def newest_run(self, simulation: SimulationId) -> Run | None:
        """The last run of this id, live or kept for its logs."""
        known = self._simulations.get(simulation)
        return known.newest if known else None

    def model(self, key: ModelKey) -> Model | None:
        run = self.run(key.run_key)
        return run.models.get(key.model) if run else None

    def is_new(self, run: RunKey) -> bool:
        """Whether a run of this number was never known here: neither live, nor ended, nor forgotten."""
        simulation = self._simulations.get(run.simulation)
        return simulation is None or run.run > simulation.last_run

    # -- observing ------------------------------------------------------------------------------------------------

    def subscribe(self, observer: Observer) -> None:
        """From now on `observer` gets every Change. It must not call back into the inventory, not block, not raise."""
        self._observers.append(observer)

    def _tell(self) -> None:
        if self._telling:
            raise RuntimeError("an observer called back into the inventory")
        self._telling = True
        try:
            changes, self._pending = self._pending, []
            for change in changes:
                for observer in self._observers:
                    observer(change)
        except Exception as exc:
            raise ObserverFailed(repr(exc)) from exc
        finally:
            self._telling = False

    # -- facts ----------------------------------------------------------------------------------------------------

    def add(self, order: Order) -> RunKey | None:
        """Take a DeployModels; the run that it opened or joined, or None when it changed nothing.

        Raises Rejected, and then nothing of it is done.
        """
        request = order.request
        simulation = self._simulations.get(request.simulation) or Simulation()
        run = simulation.live
        if run is not None and simulation.is_of_earlier_run(order, run):
            return None
        if run is None:
            if simulation.has_taken(order):
                return None
            self._check_size(len(order.models))
            run = Run(RunKey(request.simulation, simulation.last_run + 1), request)
            simulation.runs[run.key.run] = run
            simulation.remember(run)
            self._simulations[request.simulation] = simulation
            self._bygone.pop(request.simulation, None)
            self._pending.append(SimulationAdded(run.key, request, len(order.models), order.delivery))
            newcomers: Iterable[ModelSpec] = order.models
        else:
            newcomers = self._joining(run, order)
            self._check_size(len(run.models) + len(newcomers))
            again = run.stopping or request.digest in run.digests
            if not again or (order.delivery and (request.digest, order.delivery) not in run.deliveries):
                self._pending.append(SimulationExtended(run.key, request, order.delivery, again))
        if request.digest not in run.digests and not run.stopping:
            # A repeated part of a request that came in several must not open it again.
            run.note(request)
        if order.delivery:
            run.deliveries.add((request.digest, order.delivery))
        simulation.note(request.request_id)
        now = self._now()
        for spec in newcomers:
            model = Model(ModelKey(*run.key, spec.model), spec, request, created_at=now, since=now)
            run.put(model)
            self._pending.append(ModelAdded(model))
        self._conclude(run)
        changed = not all(isinstance(change, SimulationExtended) and change.again for change in self._pending)
        self._tell()
        return run.key if changed else None

    def _check_size(self, models: int) -> None:
        """One that is larger than what may live at once could only wait for ever."""
        if self._max_models is not None and models > self._max_models:
            raise Rejected(
                "the simulation is too large",
                [f"{models} models are more than may live at once here, {self._max_models}"],
            )

    def _joining(self, run: Run, order: Order) -> list[ModelSpec]:
        """Those models of an order that are new to a live run."""
        request = order.request
        if request.simulator != run.request.simulator:
            raise Rejected(
                "the simulation lives under another simulator",
                [f"simulation {request.simulation!r} was asked for by {run.request.simulator!r} and has not ended"],
            )
        others = {
            spec.model: spec
            for spec in order.models
            if (known := run.models.get(spec.model)) is None or known.spec != spec
        }
        if run.stopping:
            if request.request_id in run.request_ids or (order.redelivered and request.digest in run.digests):
                return []
            raise Rejected(
                "the simulation is being stopped",
                [f"simulation {request.simulation!r} takes models again after its AllModelsHaveTerminated"],
            )
        conflicts = [model for model in others if model in run.models]
        if conflicts:
            raise Rejected(
                "models of these ids live with another specification",
                [f"model {model!r} of simulation {request.simulation!r}" for model in conflicts],
            )
        return list(others.values())

    def restore(self, run: Run) -> None:
        """Know a run again as an earlier process wrote it down. Nothing of it is news, so nothing of it is told again.

        Raises ValueError if it is known already.
        """
        simulation = self._simulations.setdefault(run.key.simulation, Simulation())
        if run.key.run in simulation.runs:
            raise ValueError(f"{run.key} is known already")
        self._bygone.pop(run.key.simulation, None)
        simulation.runs[run.key.run] = run
        run.doubtful = run.ended_at is None
        simulation.remember(run)
        self._pending.append(SimulationRestored(run.key, run.request, len(run.models), len(run.living)))
        self._tell()

    def remember(self, run: Run) -> None:
        """The last run of an id of which nothing is left: how it was asked for tells a redelivery from a rerun."""
        self._simulations.setdefault(run.key.simulation, Simulation()).remember(run)
        self._bygone[run.key.simulation] = None

    def remember_request(self, run: RunKey, request_id: str, digest: str, delivery: int) -> None:
        """A request that some run of a known simulation took: it opens no other one, and joins none."""
        if known := self._simulations.get(run.simulation):
            known.note(request_id)
            if delivery and run.run < known.last_run:
                known.note_earlier([(digest, delivery)])

    def adopt(self, key: RunKey, found: Iterable[tuple[Model, End | None]], marks: frozenset[Mark]) -> None:
        """Follow a run that an earlier process deployed: its models at their newest attempts, and how those ended.

        What ended is told as if it ended now, but for a run that is marked as reported. A living model counts as ready
        only where the whole run is marked so: who of the others was ready died with the earlier process.
        """
        if not self.is_new(key):
            raise ValueError(f"{key} is known already")
        found = list(found)
        simulation = self._simulations.setdefault(key.simulation, Simulation())
        self._bygone.pop(key.simulation, None)
        run = simulation.runs[key.run] = Run(key, found[0][0].request, doubtful=True)
        run.announced = Mark.READY in marks
        for model, _ in found:
            run.note(model.request)
            run.put(replace(model, state=State.RUNNING, ready=True) if run.announced else model)
        # Which part of the order came last is not known; that all of them came is the kinder guess: it ends.
        run.request = replace(run.request, more_to_come=False)
        simulation.remember(run)
        alive = tuple(model.key for model, end in found if end is None)
        self._pending.append(SimulationAdopted(key, run.request, len(found), len(alive), marks, alive))
        if Mark.REPORTED in marks:
            # Whatever still lives of it was given up, and told as such.
            given_up = Failed(NO_EXIT_CODE, Reason.STOPPED, "it was reported before the service ended")
            for model, end in found:
                run.put(run.models[model.key.model].after(end or given_up, self._now()))
            run.ended_at = run.reported_at = self._last_end(run)
        else:
            if Mark.STOPPING in marks:
                self._stop(run, "it was being stopped when the service ended")
            for model, end in found:
                if end is not None:
                    self._apply(run, run.models[model.key.model], end)
        self._conclude(run)
        self._tell()

    def apply(self, attempt: Attempt, event: Event) -> Model:
        """Let one event happen to one attempt, and return the model as it is now.

        An event of an attempt that is past, or one that the present state absorbs, changes nothing.
        Raises UnknownModel.
        """
        run = self.run(attempt.key.run_key)
        model = run.models.get(attempt.key.model) if run else None
        if run is None or model is None:
            raise UnknownModel(str(attempt.key))
        if attempt.number == model.attempt:
            self._apply(run, model, event)
            self._conclude(run)
            self._tell()
        return run.models[attempt.key.model]

    def _apply(self, run: Run, model: Model, event: Event) -> None:
        if type(event) not in TRANSITIONS[model.state]:
            return
        event = self._as_seen_by(run, model, event)
        after = model.after(event, self._now())
        run.put(after)
        self._pending.append(ModelChanged(model, after, event))
        if isinstance(event, Failed) and run.request.failure_policy is FailurePolicy.STOP_ALL:
            self._stop(run, f"model {model.key.model} failed")

    @staticmethod
    def _as_seen_by(run: Run, model: Model, event: Event) -> Event:
        """An end that a removal brought about has no time of its own. Another failure is a Retry while any are left."""
        if isinstance(event, Ready | Retry):
            return event
        if run.removing_since and event.finished_at is None:
            code = event.exit_code if isinstance(event, Failed) else ENDED_BY_SIGTERM
            return Failed(
                code, Reason.STOPPED, "removed after the grace to end by itself", event.started_at, node=event.node
            )
        if (
            isinstance(event, Failed)
            and event.reason is not Reason.STOPPED
            and not run.stopping
            and model.attempt <= model.spec.retries
        ):
            return Retry(event)
        return event

    def stop(self, key: RunKey, why: str) -> None:
        """Begin to end a run: no retries from here on. Done before it is harmless. Raises UnknownModel."""
        run = self.run(key)
        if run is None:
            raise UnknownModel(str(key))
        self._stop(run, why)
        self._conclude(run)
        self._tell()

    def _stop(self, run: Run, why: str) -> None:
        if not run.stopping and run.ended_at is None:
            run.stopping = True
            self._pending.append(SimulationStopping(run.key, run.request, why))

    def begin_removal(self, key: RunKey) -> None:
        """The grace of a stopping run is over: from now on the end of a model of it is FAILED `Stopped`."""
        run = self.run(key)
        if run and run.stopping and run.removing_since is None and run.ended_at is None:
            run.removing_since = self._now()
            self._pending.append(SimulationRemoving(run.key))
            self._tell()

    def reported(self, key: RunKey) -> None:
        """All that was to be told of an ended run has been told. Unknown, or told before, is success."""
        run = self.run(key)
        if run and run.ended_at and run.reported_at is None:
            run.reported_at = self._now()
            self._pending.append(SimulationReported(key))
            self._tell()

    def forget(self, key: RunKey) -> None:
        """Nothing of an ended run is left where models run. Unknown is success."""
        simulation = self._simulations.get(key.simulation)
        run = simulation.runs.pop(key.run, None) if simulation else None
        if simulation is None or run is None:
            return
        self._pending.extend(ModelRemoved(model) for model in run.models.values())
        self._pending.append(SimulationForgotten(key))
        if not simulation.runs:
            self._bygone[key.simulation] = None
            if len(self._bygone) > REMEMBERED_SIMULATIONS:
                del self._simulations[self._bygone.popitem(last=False)[0]]
        self._tell()

    # -- conclusions ----------------------------------------------------------------------------------------------

    def _conclude(self, run: Run) -> None:
        """Tell what follows for the whole run from what just happened to one of its models."""
        if run.ended_at is not None:
            return
        complete = run.stopping or not run.request.more_to_come
        if not (run.announced or run.unready or run.failures or run.stopping) and complete:
            run.announced = True
            self._pending.append(SimulationReady(run.key, run.request))
        if not run.living and complete:
            run.ended_at = self._last_end(run)
            self._pending.append(SimulationEnded(run.key, run.request, run.ended_at))

    @staticmethod
    def _last_end(run: Run) -> datetime:
        return max(model.finished_at or model.since for model in run.models.values())
