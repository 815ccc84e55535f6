"""The inventory under anything that can happen in any order, against an oracle that knows only docs/protocol.md.

The oracle keeps what the rules say as plain facts. What observers hear is checked by itself, against nothing but
counting: no model ends twice, none is forgotten, ModelsReady comes once a run at most and never after a failure.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from hypothesis import event, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mso.changes import Change, ModelAdded, ModelChanged, SimulationEnded, SimulationReady
from mso.inventory import Inventory, Rejected
from mso.model import (
    Attempt,
    End,
    Failed,
    FailurePolicy,
    Mark,
    Model,
    ModelId,
    ModelKey,
    ModelSpec,
    Order,
    Ready,
    Reason,
    Request,
    RunKey,
    SimulationId,
    SimulatorName,
    State,
    Succeeded,
)
from tests.builders import NOW

KEEP, STOP = SimulationId("keep"), SimulationId("stop-all")
POLICIES = {KEEP: FailurePolicy.KEEP_OTHERS, STOP: FailurePolicy.STOP_ALL}
SPECS = {
    ModelId("a"): [ModelSpec(ModelId("a"), "image:1", retries=1), ModelSpec(ModelId("a"), "image:2")],
    ModelId("b"): [ModelSpec(ModelId("b"), "image:1"), ModelSpec(ModelId("b"), "image:1", retries=1)],
    ModelId("c"): [ModelSpec(ModelId("c"), "image:1")],
}
RARELY = st.integers(0, 5).map(lambda number: number == 0)
"""For what ends a story: drawn as often as everything else, it would leave none to tell."""
Standing = Literal["living", "succeeded", "failed"]


@dataclass
class ExpectedModel:
    """What the rules say of one model."""

    spec: ModelSpec
    request: Request
    attempt: int = 1
    ready: bool = False
    standing: Standing = "living"
    ends: dict[int, End] = field(default_factory=dict)
    """By attempt: what a backplane would remember."""
    deployed: int = 1
    """The newest attempt that exists where models run."""


@dataclass
class ExpectedRun:
    """What the rules say of one run."""

    key: RunKey
    simulator: SimulatorName
    models: dict[ModelId, ExpectedModel] = field(default_factory=dict)
    more_to_come: bool = False
    stop_asked: bool = False
    stopping: bool = False
    removing: bool = False
    ready_told: bool = False
    ended: bool = False
    requests: set[str] = field(default_factory=set)
    digests: set[str] = field(default_factory=set)

    def conclude(self) -> None:
        if self.ended or (self.more_to_come and not self.stopping):
            return
        models = self.models.values()
        if not self.stopping and all(model.ready and model.standing != "failed" for model in models):
            self.ready_told = True
        self.ended = all(model.standing != "living" for model in models)

    def happen(self, model: ExpectedModel, number: int, what: Ready | End) -> None:
        if self.ended or model.standing != "living" or number != model.attempt:
            return
        if isinstance(what, Ready):
            model.ready = True
        elif self.removing:
            model.standing = "failed"
        elif isinstance(what, Succeeded):
            model.standing = "succeeded"
        elif model.attempt <= model.spec.retries and not self.stopping:
            model.attempt += 1
            model.ready = False
        else:
            model.standing = "failed"
            self.stopping |= POLICIES[self.key.simulation] is FailurePolicy.STOP_ALL


@dataclass
class ExpectedSimulation:
    """What the rules say of one id."""

    runs: dict[int, ExpectedRun] = field(default_factory=dict)
    last: int = 0
    last_digests: set[str] = field(default_factory=set)
    requests: set[str] = field(default_factory=set)

    @property
    def live(self) -> ExpectedRun | None:
        return next((run for run in self.runs.values() if not run.ended), None)


class Listener:
    """Counts what is told, and complains at once of what must never be."""

    def __init__(self, ready_before: set[RunKey]) -> None:
        self.added: set[ModelKey] = set()
        self.ends: Counter[ModelKey] = Counter()
        self.ended: Counter[RunKey] = Counter()
        self.failed: set[RunKey] = set()
        self.ready = ready_before
        """Of the whole history, restarts included."""

    def __call__(self, change: Change) -> None:
        match change:
            case ModelAdded(model=model):
                assert model.key not in self.added
                self.added.add(model.key)
            case ModelChanged(before=before, model=model):
                assert not before.state.terminal, "a model ended and went on"
                assert not self.ended[model.key.run_key], "something was told of a run behind its end"
                if model.state.terminal:
                    self.ends[model.key] += 1
                if model.state is State.FAILED:
                    self.failed.add(model.key.run_key)
            case SimulationReady(run=run):
                assert run not in self.ready, "a second ModelsReady"
                assert run not in self.failed, "ModelsReady after a failure"
                assert not self.ended[run]
                self.ready.add(run)
            case SimulationEnded(run=run):
                self.ended[run] += 1
            case _:
                pass


class InventoryMachine(RuleBasedStateMachine):
    """One service life after the other over the same models."""

    def __init__(self) -> None:
        super().__init__()
        self.simulations: dict[SimulationId, ExpectedSimulation] = {}
        self.sent: list[Order] = []
        self.quiet: set[RunKey] = set()
        """Runs that were adopted as reported."""
        self.begin(set())

    def begin(self, ready_before: set[RunKey]) -> None:
        self.inventory = Inventory(now=lambda: NOW)
        self.heard = Listener(ready_before)
        self.inventory.subscribe(self.heard)

    @property
    def runs(self) -> list[ExpectedRun]:
        return [run for simulation in self.simulations.values() for run in simulation.runs.values()]

    # -- orders -------------------------------------------------------------------------------------------------------

    @initialize(simulation=st.sampled_from((KEEP, KEEP, KEEP, STOP)))
    def begin_with_a_run(self, simulation: SimulationId) -> None:
        self.order(simulation, "essim", set(SPECS), other_spec=False, more_to_come=False, request_id="")

    @rule(
        simulation=st.sampled_from((KEEP, KEEP, STOP)),
        simulator=st.sampled_from(("essim", "essim", "essim", "dots-so")),
        models=st.sets(st.sampled_from(sorted(SPECS)), min_size=1),
        other_spec=RARELY,
        more_to_come=RARELY,
        request_id=st.sampled_from(("", "", "", "r-1", "r-2")),
    )
    def order(
        self,
        simulation: SimulationId,
        simulator: str,
        models: set[ModelId],
        other_spec: bool,
        more_to_come: bool,
        request_id: str,
    ) -> None:
        specs = tuple(SPECS[model][-1 if other_spec else 0] for model in sorted(models))
        digest = repr((specs, more_to_come, request_id))
        self.take(
            Order(
                Request(
                    SimulatorName(simulator),
                    simulation,
                    failure_policy=POLICIES[simulation],
                    more_to_come=more_to_come,
                    request_id=request_id,
                    digest=digest,
                ),
                specs,
            )
        )

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), redelivered=st.booleans())
    def say_it_again(self, data: st.DataObject, redelivered: bool) -> None:
        """A rerun, or a redelivery by the broker."""
        again = data.draw(st.sampled_from(self.sent[-4:]))
        self.take(Order(again.request, again.models, redelivered))

    def take(self, order: Order) -> None:
        self.sent.append(order)
        request = order.request
        simulation = self.simulations.get(request.simulation) or ExpectedSimulation()
        run = simulation.live
        if run is None:
            known = request.request_id != "" and request.request_id in simulation.requests
            if known or (order.redelivered and request.digest in simulation.last_digests):
                event("order: known")
                assert self.inventory.add(order) is None
                return
            event("order: opens a run")
            simulation.last += 1
            run = ExpectedRun(RunKey(request.simulation, simulation.last), request.simulator)
            simulation.runs[simulation.last] = run
            simulation.last_digests = run.digests
            self.simulations[request.simulation] = simulation
            assert self.inventory.add(order) == run.key
        elif request.request_id in simulation.requests - run.requests:
            event("order: of an earlier run")
            assert self.inventory.add(order) is None
            return
        else:
            taken = (request.request_id != "" and request.request_id in run.requests) or (
                order.redelivered and request.digest in run.digests
            )
            foreign = request.simulator != run.simulator
            conflict = any(spec.model in run.models and run.models[spec.model].spec != spec for spec in order.models)
            if foreign or (run.stopping and not taken) or (conflict and not run.stopping):
                event("order: rejected")
                try:
                    self.inventory.add(order)
                except Rejected:
                    return
                raise AssertionError("it should have been rejected")
            event("order: for a run that lives")
            assert self.inventory.add(order) in (None, run.key)
            if run.stopping:
                simulation.requests |= run.requests
                return
        if request.digest not in run.digests:
            run.more_to_come = request.more_to_come
            run.digests.add(request.digest)
        if request.request_id:
            run.requests.add(request.request_id)
            simulation.requests.add(request.request_id)
        for spec in order.models:
            run.models.setdefault(spec.model, ExpectedModel(spec, request))
        run.conclude()

    # -- what happens to models ---------------------------------------------------------------------------------------

    def happen(self, run: ExpectedRun, name: ModelId, what: Ready | End, stale: int = 0) -> None:
        model = run.models[name]
        number = max(1, model.attempt + stale)
        if not isinstance(what, Ready) and number == model.attempt:
            model.ends.setdefault(number, what)
            model.deployed = max(model.deployed, number)
        run.happen(model, number, what)
        run.conclude()
        self.inventory.apply(Attempt(ModelKey(*run.key, name), number), what)

    def some_models(self, data: st.DataObject) -> tuple[ExpectedRun, list[ModelId]]:
        run = data.draw(st.sampled_from(self.runs))
        return run, data.draw(st.lists(st.sampled_from(sorted(run.models)), min_size=1, unique=True))

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def become_ready(self, data: st.DataObject) -> None:
        run, names = self.some_models(data)
        for name in names:
            self.happen(run, name, Ready())

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def succeed(self, data: st.DataObject) -> None:
        run, names = self.some_models(data)
        for name in names:
            self.happen(run, name, Succeeded())

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), exit_code=st.sampled_from((1, 0, -1)))
    def crash(self, data: st.DataObject, exit_code: int) -> None:
        run, names = self.some_models(data)
        self.happen(run, names[0], Failed(exit_code, Reason.ERROR))

    @precondition(lambda self: self.runs)
    @rule(
        data=st.data(),
        what=st.sampled_from((Ready(), Succeeded(), Failed(1, Reason.ERROR))),
        stale=st.sampled_from((-1, 1)),
    )
    def say_of_another_attempt(self, data: st.DataObject, what: Ready | End, stale: int) -> None:
        run, names = self.some_models(data)
        self.happen(run, names[0], what, stale)

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def deploy_what_is_retried(self, data: st.DataObject) -> None:
        for model in data.draw(st.sampled_from(self.runs)).models.values():
            model.deployed = model.attempt

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), really=RARELY)
    def stop(self, data: st.DataObject, really: bool) -> None:
        if not really:
            return
        run = data.draw(st.sampled_from(self.runs))
        if not run.ended:
            run.stopping = run.stop_asked = True
        run.conclude()
        self.inventory.stop(run.key, "a rule said so")

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), really=RARELY)
    def begin_removal(self, data: st.DataObject, really: bool) -> None:
        if not really:
            return
        run = data.draw(st.sampled_from(self.runs))
        run.removing |= run.stopping
        self.inventory.begin_removal(run.key)

    @precondition(lambda self: any(run.ended for run in self.runs))
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from([run for run in self.runs if run.ended]))
        del self.simulations[run.key.simulation].runs[run.key.run]
        self.inventory.forget(run.key)
        self.inventory.forget(run.key)

    # -- another process ----------------------------------------------------------------------------------------------

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), really=RARELY)
    def restart(self, data: st.DataObject, really: bool) -> None:
        """A fresh inventory adopts what a backplane remembers: newest attempts, their ends, and the marks."""
        if not really:
            return
        event("restart")
        self.begin({run.key for run in self.runs if run.ready_told})
        self.quiet = set()
        before, self.simulations = self.simulations, {}
        for name, simulation in before.items():
            for number in sorted(simulation.runs):
                reported = simulation.runs[number].ended and data.draw(st.booleans())
                self.adopt(name, simulation.runs[number], reported)

    def adopt(self, name: SimulationId, run: ExpectedRun, reported: bool) -> None:
        marks = {Mark.READY} if run.ready_told else set()
        marks |= {Mark.STOPPING} if run.stop_asked else set()
        marks |= {Mark.REPORTED} if reported else set()
        found = [
            (
                Model(ModelKey(*run.key, model), it.spec, it.request, NOW, NOW, attempt=it.deployed),
                it.ends.get(it.deployed),
            )
            for model, it in run.models.items()
        ]
        simulation = self.simulations.setdefault(name, ExpectedSimulation())
        simulation.runs[run.key.run] = run
        simulation.last = run.key.run
        run.more_to_come = run.removing = False
        run.stopping = run.stop_asked
        run.digests = simulation.last_digests = {it.request.digest for it in run.models.values()}
        run.requests = {it.request.request_id for it in run.models.values()} - {""}
        simulation.requests |= run.requests
        if reported:
            self.quiet.add(run.key)
        else:
            run.ended = False
            for it in run.models.values():
                it.attempt, it.standing, it.ready = it.deployed, "living", run.ready_told
            for it in run.models.values():
                if end := it.ends.get(it.deployed):
                    run.happen(it, it.deployed, end)
            run.conclude()
        self.inventory.adopt(run.key, found, frozenset(marks))

    # -- what always holds --------------------------------------------------------------------------------------------

    @invariant()
    def the_inventory_is_as_the_rules_say(self) -> None:
        actual = {run.key: run for run in self.inventory.runs()}
        assert actual.keys() == {run.key for run in self.runs}
        for expected in self.runs:
            run = actual[expected.key]
            assert run.announced == expected.ready_told
            assert (run.ended_at is not None) == expected.ended
            assert self.inventory.is_new(RunKey(expected.key.simulation, expected.key.run + 1)) == (
                self.simulations[expected.key.simulation].last == expected.key.run
            )
            if expected.key in self.quiet:
                continue
            assert run.stopping == expected.stopping
            assert {
                name: (model.spec, model.attempt, model.ready, standing(model)) for name, model in run.models.items()
            } == {name: (it.spec, it.attempt, it.ready, it.standing) for name, it in expected.models.items()}

    @invariant()
    def the_counters_are_those_of_a_recount(self) -> None:
        for run in self.inventory.runs():
            models = run.models.values()
            assert run.unready == {model.key.model for model in models if not model.ready}
            assert run.living == {model.key.model for model in models if not model.state.terminal}
            assert run.failures == sum(model.state is State.FAILED for model in models)

    @invariant()
    def everything_was_told_exactly_once(self) -> None:
        for run in self.runs:
            assert (run.key in self.heard.ready) == run.ready_told
            if run.key in self.quiet:
                assert self.heard.ended[run.key] == 0
                continue
            assert self.heard.ended[run.key] == int(run.ended)
            for name, model in run.models.items():
                assert self.heard.ends[ModelKey(*run.key, name)] == int(model.standing != "living")

    def teardown(self) -> None:
        """Whatever happened before: once everything is stopped and has ended, every run has had its last word."""
        for run in self.runs:
            self.inventory.stop(run.key, "the end")
            for model in list(self.inventory.run(run.key).models.values()):  # type: ignore[union-attr]
                self.inventory.apply(model.current, Succeeded())
            if run.key not in self.quiet:
                assert self.heard.ended[run.key] == 1
                for name in run.models:
                    assert self.heard.ends[ModelKey(*run.key, name)] == 1


def standing(model: Model) -> Standing:
    match model.state:
        case State.SUCCEEDED:
            return "succeeded"
        case State.FAILED:
            return "failed"
        case _:
            return "living"


TestInventory = InventoryMachine.TestCase
TestInventory.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(sorted(SPECS)),
            st.sampled_from((Ready(), Ready(), Succeeded(), Failed(1, Reason.ERROR))),
        ),
        min_size=4,
        max_size=10,
    )
)
@settings(max_examples=400)
def test_one_run_in_any_order(happenings: list[tuple[ModelId, Ready | End]]) -> None:
    """Whatever order the models of one run boot, end and are retried in, the run is told of as the rules say."""
    run = ExpectedRun(RunKey(KEEP, 1), SimulatorName("essim"))
    inventory, heard = Inventory(now=lambda: NOW), Listener(set())
    inventory.subscribe(heard)
    asked = Request(run.simulator, KEEP)
    inventory.add(Order(asked, tuple(specs[0] for specs in SPECS.values())))
    run.models = {name: ExpectedModel(specs[0], asked) for name, specs in SPECS.items()}
    for name, what in happenings:
        number = run.models[name].attempt
        run.happen(run.models[name], number, what)
        run.conclude()
        model = inventory.apply(Attempt(ModelKey(*run.key, name), number), what)
        assert (standing(model), model.attempt) == (run.models[name].standing, run.models[name].attempt)
        assert (run.key in heard.ready) == run.ready_told
        assert heard.ended[run.key] == int(run.ended)
