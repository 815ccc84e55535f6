"""What is written down of an inventory is all that it takes to have it again, wherever the process was killed."""

import asyncio
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import fields
from datetime import timedelta
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from mso.changes import Change
from mso.inventory import Inventory, Rejected
from mso.ledger import AttemptDeployed, KnownRun, Recovered, RequestKept, RunRecord
from mso.model import FailurePolicy, Mark, Ready, RunKey, SimulationId, State, Succeeded
from mso.record import Record
from mso.recovery import restore
from mso.runs import Run
from tests.builders import NOW, RUN, SIM, Clock, attempt, crash, kept, key, left, model, order, request, spec
from tests.fakes.ledger import FakeLedger, recovered
from tests.happening import running

Fact = tuple[Any, ...]
"""One thing that happens, by name, and to whom."""

SIMULATIONS = ("sim-1", "sim-2")
MODELS = {"a": spec("a", retries=1), "b": spec("b"), "c": spec("c")}
RARELY = st.integers(0, 5).map(lambda number: number == 0)


ORDERS: st.SearchStrategy[Fact] = st.tuples(
    st.just("ask"),
    st.sampled_from(SIMULATIONS),
    st.sets(st.sampled_from(sorted(MODELS)), min_size=1),
    st.sampled_from(("digest-1", "digest-2", "digest-3")),
    st.booleans(),
    RARELY,
    st.booleans(),
    st.integers(0, 3),
)
"""Of which models, in which bytes, with an id or not, with more to come or not, redelivered or not, as which packet."""


def happenings(*what: str) -> st.SearchStrategy[Fact]:
    return st.tuples(
        st.sampled_from(what), st.sampled_from(SIMULATIONS), st.integers(1, 3), st.sampled_from(sorted(MODELS))
    )


MODELS_DO = ("ready", "ready", "succeed", "succeed", "fail")
RUNS_DO = ("stop", "remove", "report", "report", "forget")
STORIES = st.lists(ORDERS | happenings(*MODELS_DO) | happenings(*RUNS_DO), min_size=4, max_size=30)


class Life:
    """An inventory to which things happen, in a time of its own, and that is written down."""

    def __init__(self, recovered: Recovered | None = None, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.inventory = Inventory(now=self.clock)
        if recovered:
            restore(self.inventory, recovered)
        self.told: list[Change] = []
        self.inventory.subscribe(self.told.append)
        self._ledger = FakeLedger()
        self.record = Record(self.inventory, self._ledger, then=(), step=lambda _: nullcontext())
        self.inventory.subscribe(self.record.observe)

    def recovered(self) -> Recovered:
        """What another process finds of it."""

        async def keep() -> None:
            async with running(self.record.keep()):
                await self.record.flushed()

        asyncio.run(keep())
        return recovered(self._ledger.entries)

    def next(self) -> "Life":
        """What another process makes of it."""
        return Life(self.recovered(), Clock(self.clock()))

    @property
    def states(self) -> dict[RunKey, dict[str, object]]:
        return {run.key: state(run) for run in self.inventory.runs()}

    def live(self, facts: Iterable[Fact]) -> None:
        for what, simulation, *about in facts:
            self.clock.move(1)
            if what == "ask":
                self._ask(simulation, *about)
            else:
                self._happen(what, RunKey(SimulationId(simulation), about[0]), about[1])

    def _ask(
        self,
        simulation: str,
        models: set[str],
        digest: str,
        has_id: bool,
        more_to_come: bool,
        redelivered: bool,
        delivery: int,
    ) -> None:
        policy = FailurePolicy.STOP_ALL if simulation == "sim-2" else FailurePolicy.KEEP_OTHERS
        digest = f"{digest} {has_id} {more_to_come}"
        try:
            self.inventory.add(
                order(
                    *(MODELS[name] for name in sorted(models)),
                    simulation=simulation,
                    digest=digest,
                    request_id=f"id of {digest}" if has_id else "",
                    redelivered=redelivered,
                    delivery=delivery,
                    keep_logs=timedelta(hours=len(models)),
                    failure_policy=policy,
                    more_to_come=more_to_come,
                )
            )
        except Rejected:
            pass

    def _happen(self, what: str, key: RunKey, name: str) -> None:
        run = self.inventory.run(key)
        if run is None:
            return
        found = next((one for one in run.models.values() if one.key.model == name), None)
        match what:
            case "stop":
                self.inventory.stop(key, "a test")
            case "remove":
                self.inventory.begin_removal(key)
            case "report":
                self.inventory.reported(key)
            case "forget" if run.reported_at:
                self.inventory.forget(key)
            case "ready" if found:
                self.inventory.apply(found.current, Ready())
            case "succeed" if found:
                self.inventory.apply(found.current, Succeeded())
            case "fail" if found:
                self.inventory.apply(found.current, crash())


def state(run: Run) -> dict[str, object]:
    """All that it is, but for doubts that only another process has."""
    return {field.name: getattr(run, field.name) for field in fields(Run) if field.name != "doubtful"}


@given(STORIES, STORIES)
@settings(max_examples=300, deadline=None)
def test_what_another_process_knows_is_what_was_known(before: list[Fact], after: list[Fact]) -> None:
    """Every run, every model and every count is as it was, and whatever happens then means what it would have meant."""
    life = Life()
    life.live(before)
    another = life.next()
    event(f"runs: {len(life.states)}")
    assert another.states == life.states
    life.told.clear()
    plain = [(*fact[:-1], 0) if fact[0] == "ask" else fact for fact in after]  # of packets it may have doubts
    life.live(plain)
    another.live(plain)
    assert another.told == life.told
    assert another.states == life.states


def test_an_adopted_run_is_known_to_the_next_process_too() -> None:
    """Once it has been found it is written down like any other: it is not found a second time."""
    life = Life()
    found = [(model("a"), None), (model("b"), Succeeded()), (model("c", spec=MODELS["a"]), crash())]
    life.inventory.adopt(RUN, found, frozenset({Mark.STOPPING}))
    another = life.next()
    assert another.states == life.states
    assert not another.inventory.is_new(RUN)


def test_a_request_is_known_to_another_process_however_many_runs_came_after_it() -> None:
    """The same request never opens a second run."""
    life = Life()
    for number in (1, 2):
        life.inventory.add(order("a", request_id=f"r-{number}", digest=f"digest-{number}"))
        life.live([("succeed", SIM, number, "a"), ("report", SIM, number, "a"), ("forget", SIM, number, "a")])
    assert life.next().inventory.add(order("a", request_id="r-1")) is None


# -- what is made of what the ledger knows ----------------------------------------------------------------------------


def test_what_had_been_seen_where_models_run_is_told() -> None:
    """Only that can be missing there; each by its present attempt."""
    deployed = restore(
        Inventory(),
        left(
            kept(model("a", attempt=2), model("b", state=State.SUCCEEDED)),
            kept(model("a", simulation="sim-2"), deployed=False),
        ),
    )
    assert deployed == {attempt("a", 2), attempt("b")}


def test_every_part_of_the_record_of_a_run_is_taken() -> None:
    """None of it is lost on the way."""
    inventory = Inventory()
    asked = request(request_id="r-2", digest="digest-2")
    record = RunRecord(
        RUN, asked, announced=True, stopping=True, removing_since=NOW, ended_at=NOW, reported_at=NOW + timedelta(1)
    )
    requests = (
        RequestKept(RUN, "digest-1", "r-1", 7),
        RequestKept(RUN, "digest-1", "r-1", 8),
        RequestKept(RUN, "digest-2", "r-2"),
        RequestKept(RUN, "digest-3"),
    )
    restore(inventory, left(KnownRun(record, requests, ())))
    run = inventory.run(RUN)
    assert run
    assert state(run) == {
        "key": RUN,
        "request": asked,
        "models": {},
        "unready": set(),
        "living": set(),
        "failures": 0,
        "announced": True,
        "stopping": True,
        "removing_since": NOW,
        "ended_at": NOW,
        "reported_at": NOW + timedelta(1),
        "digests": {"digest-1", "digest-2", "digest-3"},
        "request_ids": {"r-1", "r-2"},
        "deliveries": {("digest-1", 7), ("digest-1", 8)},
    }


def test_a_bygone_run_is_remembered_beside_one_that_is_kept() -> None:
    """The number of a run is never given twice, whichever of a simulation's runs was forgotten first."""
    inventory = Inventory()
    bygone = KnownRun(RunRecord(RunKey(SIM, 2), request()), (RequestKept(RunKey(SIM, 2), "digest-1"),), ())
    restore(
        inventory,
        Recovered(
            (kept(model("a", state=State.SUCCEEDED), ended_at=NOW),),
            bygone=(bygone,),
            taken=(),
            rows=(),
            last_row=0,
            notes={},
        ),
    )
    assert inventory.add(order("a")) == RunKey(SIM, 3)


def test_nothing_is_deployed_that_was_not_noted() -> None:
    """The model is known, and its attempt is not taken for one that vanished."""
    life = Life()
    life.inventory.add(order("a", "b"))
    life.record.write([AttemptDeployed(attempt("b"))])
    (run,) = life.recovered().runs
    assert {known.model.key: known.deployed for known in run.models} == {key("a"): False, key("b"): True}
