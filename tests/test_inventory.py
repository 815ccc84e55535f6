"""The inventory: the rules of docs/protocol.md, *Runs* and *Stopping*, sentence by sentence."""

from collections.abc import Callable, Iterable
from datetime import UTC, timedelta

import pytest

from mso.changes import (
    Change,
    ModelAdded,
    ModelChanged,
    ModelRemoved,
    SimulationAdded,
    SimulationAdopted,
    SimulationEnded,
    SimulationReady,
    SimulationStopping,
)
from mso.inventory import (
    ENDED_BY_SIGTERM,
    REMEMBERED_SIMULATIONS,
    Inventory,
    ObserverFailed,
    Rejected,
    UnknownModel,
)
from mso.model import (
    NO_EXIT_CODE,
    Attempt,
    End,
    Event,
    FailurePolicy,
    Mark,
    Model,
    ModelId,
    Ready,
    Reason,
    Retry,
    RunKey,
    SimulationId,
    State,
    Succeeded,
)
from mso.runs import REMEMBERED_REQUESTS
from tests.builders import (
    NOW,
    RUN,
    SIM,
    Clock,
    attempt,
    crash,
    key,
    known,
    live_runs,
    model,
    order,
    request,
    spec,
    without,
)
from tests.observer import Told


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def inventory(clock: Clock) -> Inventory:
    return Inventory(now=clock)


@pytest.fixture
def told(inventory: Inventory) -> Told:
    return Told(inventory)


def end_run(inventory: Inventory, run: int = 1, simulation: str = SIM) -> None:
    """Every model of it ends well."""
    found = inventory.run(RunKey(SimulationId(simulation), run))
    assert found
    for one in list(found.models.values()):
        inventory.apply(one.current, Succeeded())


# -- one run ----------------------------------------------------------------------------------------------------------


def test_an_order_opens_a_run(inventory: Inventory, told: Told) -> None:
    """A DeployModels of a new simulation opens run 1 of it, with every model created."""
    assert inventory.add(order("a", "b")) == RUN
    assert told.kinds == ["SimulationAdded", "ModelAdded", "ModelAdded"]
    assert told[0] == SimulationAdded(RUN, request(), 2)
    assert [known(inventory, key(name)).state for name in ("a", "b")] == [State.CREATED, State.CREATED]
    assert known(inventory, key("a")).created_at == NOW


def test_running_means_that_ready_for_processing_was_received(inventory: Inventory, told: Told, clock: Clock) -> None:
    """A model is CREATED until it announces itself, and RUNNING from then on."""
    inventory.add(order("a"))
    later = clock.move(5)
    assert inventory.apply(attempt("a"), Ready()).state is State.RUNNING
    assert known(inventory, key("a")).since == later
    assert told.kinds[-2:] == ["ModelChanged", "SimulationReady"]


def test_models_ready_comes_when_the_last_model_was_ready(inventory: Inventory, told: Told) -> None:
    """One model that is silent holds ModelsReady back."""
    inventory.add(order("a", "b"))
    inventory.apply(attempt("a"), Ready())
    assert not told.of(SimulationReady)
    inventory.apply(attempt("b"), Ready())
    assert told.of(SimulationReady) == [SimulationReady(RUN, request())]


def test_a_second_ready_changes_nothing(inventory: Inventory, told: Told) -> None:
    """A status is a level: said three times it is one Change, and one ModelsReady."""
    inventory.add(order("a"))
    for _ in range(3):
        inventory.apply(attempt("a"), Ready())
    assert len(told.of(ModelChanged)) == 1
    assert len(told.of(SimulationReady)) == 1


@pytest.mark.parametrize("was_ready", (False, True))
def test_models_ready_never_comes_after_a_failure(inventory: Inventory, told: Told, was_ready: bool) -> None:
    """Where one model has FAILED, ready before or not, the others being ready is no ModelsReady."""
    inventory.add(order("a", "b"))
    if was_ready:
        inventory.apply(attempt("a"), Ready())
    inventory.apply(attempt("a"), crash())
    inventory.apply(attempt("b"), Ready())
    assert not told.of(SimulationReady)


def test_a_model_that_was_ready_and_then_ended_well_still_counts_as_ready(inventory: Inventory, told: Told) -> None:
    """A quick model does not keep the others from beginning."""
    inventory.add(order("a", "b"))
    inventory.apply(attempt("a"), Ready())
    inventory.apply(attempt("a"), Succeeded())
    inventory.apply(attempt("b"), Ready())
    assert len(told.of(SimulationReady)) == 1


def test_a_model_that_exits_before_it_is_ready_was_never_ready(inventory: Inventory, told: Told) -> None:
    """Exit code 0 before ReadyForProcessing is a success, and no readiness."""
    inventory.add(order("a", "b"))
    assert inventory.apply(attempt("a"), Succeeded()).state is State.SUCCEEDED
    inventory.apply(attempt("a"), Ready())
    inventory.apply(attempt("b"), Ready())
    assert not told.of(SimulationReady)


@pytest.mark.parametrize("event", (Ready(), Succeeded(), crash(7), Retry(crash())))
@pytest.mark.parametrize("end", (Succeeded(), crash(3)))
def test_the_first_end_that_was_seen_is_the_truth(inventory: Inventory, told: Told, end: End, event: Event) -> None:
    """Terminal states absorb: whatever is heard of a model afterwards alters nothing and is told to nobody."""
    inventory.add(order("a", "b"))
    before = inventory.apply(attempt("a"), end)
    count = len(told)
    assert inventory.apply(attempt("a"), event) == before
    assert len(told) == count


def test_the_run_ends_after_the_last_model(inventory: Inventory, told: Told) -> None:
    """SimulationEnded comes behind the end of every model, and once."""
    inventory.add(order("a", "b"))
    inventory.apply(attempt("b"), crash())
    assert not told.of(SimulationEnded)
    inventory.apply(attempt("a"), Succeeded())
    assert told.kinds[-2:] == ["ModelChanged", "SimulationEnded"]
    inventory.apply(attempt("a"), Succeeded())
    assert len(told.of(SimulationEnded)) == 1


def test_the_end_of_a_run_is_the_end_of_its_last_model(inventory: Inventory, told: Told, clock: Clock) -> None:
    """Retention counts from when the last model finished, not from when that was heard of."""
    inventory.add(order("a", "b", "c"))
    latest = NOW + timedelta(seconds=30)
    clock.move(40)
    inventory.apply(attempt("a"), Succeeded(finished_at=latest))
    inventory.apply(attempt("b"), Succeeded(finished_at=latest - timedelta(seconds=5)))
    inventory.apply(attempt("c"), crash(finished_at=latest - timedelta(seconds=9)))
    assert told[-1] == SimulationEnded(RUN, request(), latest)


def test_an_end_without_a_time_is_when_it_was_first_seen(inventory: Inventory, clock: Clock) -> None:
    """Where nobody knows when a model finished, it finished when it was seen."""
    inventory.add(order("a"))
    seen = clock.move(3)
    ended = inventory.apply(attempt("a"), crash(137, Reason.OOM_KILLED, message="too big"))
    assert (ended.finished_at, ended.exit_code, ended.reason, ended.message) == (
        seen,
        137,
        Reason.OOM_KILLED,
        "too big",
    )


def test_a_failure_never_carries_exit_code_0(inventory: Inventory) -> None:
    """FAILED with exit code 0 would contradict itself: it is told as `no exit code`."""
    inventory.add(order("a"))
    assert inventory.apply(attempt("a"), crash(0, Reason.EVICTED)).exit_code == NO_EXIT_CODE


@pytest.mark.parametrize(
    "stranger", (attempt("x"), attempt("a", run=2), attempt("a", simulation="other")), ids=("model", "run", "sim")
)
def test_what_nobody_asked_for_is_unknown(inventory: Inventory, stranger: Attempt) -> None:
    """An event of a model, a run or a simulation that is not there is an error of the caller."""
    inventory.add(order("a"))
    with pytest.raises(UnknownModel):
        inventory.apply(stranger, Ready())


def test_runs_of_different_simulations_do_not_touch(inventory: Inventory, told: Told) -> None:
    """A failure in one simulation is nothing to another."""
    inventory.add(order("a", simulation="one"))
    inventory.add(order("a", simulation="two"))
    inventory.apply(attempt("a", simulation="one"), crash())
    inventory.apply(attempt("a", simulation="two"), Ready())
    assert [change.run.simulation for change in told.of(SimulationReady) if isinstance(change, SimulationReady)] == [
        "two"
    ]


# -- runs -------------------------------------------------------------------------------------------------------------


def test_a_model_with_the_same_id_and_the_same_spec_changes_nothing(inventory: Inventory, told: Told) -> None:
    """While a run lives, the same DeployModels again is heard and nothing comes of it, also once a model has ended."""
    inventory.add(order("a", "b"))
    inventory.apply(attempt("a"), Succeeded())
    count = len(told)
    assert inventory.add(order("a", "b")) is None
    assert inventory.add(order("a", "b", redelivered=True)) is None
    assert len(told) == count


def test_a_new_id_joins_the_run(inventory: Inventory, told: Told) -> None:
    """While a run lives, a new model becomes part of it, and ModelsReady waits for it too."""
    inventory.add(order("a"))
    assert inventory.add(order("a", "b", digest="digest-2")) == RUN
    assert told.kinds == ["SimulationAdded", "ModelAdded", "SimulationExtended", "ModelAdded"]
    inventory.apply(attempt("a"), Ready())
    assert not told.of(SimulationReady)
    inventory.apply(attempt("b"), Ready())
    assert len(told.of(SimulationReady)) == 1


def test_models_ready_does_not_repeat_for_one_that_joins(inventory: Inventory, told: Told) -> None:
    """Who joins a run that was announced is not announced."""
    inventory.add(order("a"))
    inventory.apply(attempt("a"), Ready())
    inventory.add(order("b", digest="digest-2"))
    inventory.apply(attempt("b"), Ready())
    assert len(told.of(SimulationReady)) == 1


def test_a_run_waits_for_one_that_joined(inventory: Inventory, told: Told) -> None:
    """AllModelsHaveTerminated comes behind the end of a model that joined."""
    inventory.add(order("a"))
    inventory.add(order("b", digest="digest-2"))
    inventory.apply(attempt("a"), Succeeded())
    assert not told.of(SimulationEnded)
    inventory.apply(attempt("b"), Succeeded())
    assert len(told.of(SimulationEnded)) == 1


@pytest.mark.parametrize("ended", (False, True))
def test_the_same_id_with_another_spec_rejects_the_whole_request(inventory: Inventory, told: Told, ended: bool) -> None:
    """Where one model of an order is another one under a known id, nothing of the order is done."""
    inventory.add(order("a", "b"))
    if ended:
        inventory.apply(attempt("a"), Succeeded())
    count = len(told)
    with pytest.raises(Rejected) as rejected:
        inventory.add(order("new", spec("a", "other:1"), digest="digest-2", more_to_come=True, request_id="r"))
    assert "'a'" in " ".join(rejected.value.errors)
    assert len(told) == count
    assert inventory.model(key("new")) is None
    inventory.apply(attempt("a"), Succeeded())
    inventory.apply(attempt("b"), Succeeded())
    assert told.of(SimulationEnded), "moreToCome of a rejected request counts for nothing"
    assert inventory.add(order("c", request_id="r")) == RunKey(SIM, 2), "a rejected request was not taken"


def test_after_the_end_the_same_bytes_open_the_next_run(inventory: Inventory, told: Told) -> None:
    """A rerun sends what the run before sent, and is a run of its own."""
    inventory.add(order("a"))
    end_run(inventory)
    assert inventory.add(order("a")) == RunKey(SIM, 2)
    inventory.apply(attempt("a", run=2), Ready())
    assert [change.run.run for change in told.of(SimulationReady) if isinstance(change, SimulationReady)] == [2]


def test_the_next_run_leaves_the_one_before_alone(inventory: Inventory, told: Told) -> None:
    """A run that is kept for its logs stays as it ended, whatever is heard of it."""
    inventory.add(order("a"))
    end_run(inventory)
    inventory.add(order("a"))
    count = len(told)
    inventory.apply(attempt("a", run=1), crash())
    assert len(told) == count
    assert known(inventory, key("a", run=1)).state is State.SUCCEEDED
    assert known(inventory, key("a", run=2)).state is State.CREATED
    assert live_runs(inventory) == [inventory.newest_run(SIM)] == [inventory.run(RunKey(SIM, 2))]


def test_a_redelivery_after_the_end_opens_nothing(inventory: Inventory, told: Told) -> None:
    """With the DUP flag and the digest of the last run, it is the broker that says it again and not the SO."""
    inventory.add(order("a"))
    end_run(inventory)
    count = len(told)
    assert inventory.add(order("a", redelivered=True)) is None
    assert len(told) == count


def test_the_dup_flag_alone_is_no_redelivery(inventory: Inventory) -> None:
    """A DeployModels with DUP whose digest is not that of the last run was never seen here: it is taken."""
    assert inventory.add(order("a", redelivered=True)) == RUN
    end_run(inventory)
    assert inventory.add(order("b", digest="digest-2", redelivered=True)) == RunKey(SIM, 2)
    end_run(inventory, 2)
    assert inventory.add(order("a", redelivered=True)) == RunKey(SIM, 3), "only the last run counts"


def test_a_redelivery_is_known_also_when_the_run_is_forgotten(inventory: Inventory) -> None:
    """That nothing is left of a run does not make its DeployModels a new one."""
    inventory.add(order("a"))
    end_run(inventory)
    inventory.forget(RUN)
    assert inventory.add(order("a", redelivered=True)) is None
    assert inventory.add(order("a")) == RunKey(SIM, 2)


@pytest.mark.parametrize("forgotten", (False, True))
def test_a_known_request_id_never_opens_a_second_run(inventory: Inventory, told: Told, forgotten: bool) -> None:
    """The same request is taken once, with or without DUP, and however many runs came after it."""
    inventory.add(order("a", request_id="r-1"))
    end_run(inventory)
    inventory.add(order("a", request_id="r-2", digest="digest-2"))
    end_run(inventory, 2)
    if forgotten:
        inventory.forget(RUN)
        inventory.forget(RunKey(SIM, 2))
    count = len(told)
    assert inventory.add(order("a", request_id="r-1")) is None
    assert inventory.add(order("a", request_id="r-2", digest="digest-2")) is None
    assert len(told) == count
    assert inventory.add(order("a", request_id="r-3")) == RunKey(SIM, 3)


def test_the_request_id_of_one_that_joined_is_known_too(inventory: Inventory) -> None:
    """A request that added models to a run is as much taken as the one that opened it, also if it added none."""
    inventory.add(order("a", request_id="r-1"))
    inventory.add(order("b", request_id="r-2", digest="digest-2"))
    inventory.add(order("a", request_id="r-3", digest="digest-3"))
    end_run(inventory)
    assert [inventory.add(order("b", request_id=known_id)) for known_id in ("r-2", "r-3")] == [None, None]


def test_request_ids_belong_to_their_simulation(inventory: Inventory) -> None:
    """Two simulations may count their requests alike."""
    assert inventory.add(order("a", simulation="one", request_id="1"))
    assert inventory.add(order("a", simulation="two", request_id="1"))


def test_more_to_come_holds_models_ready_back(inventory: Inventory, told: Told) -> None:
    """ModelsReady waits for the last part of a request."""
    inventory.add(order("a", more_to_come=True))
    inventory.apply(attempt("a"), Ready())
    assert not told.of(SimulationReady)
    inventory.add(order("b", digest="digest-2"))
    inventory.apply(attempt("b"), Ready())
    assert len(told.of(SimulationReady)) == 1


def test_a_run_does_not_end_before_its_last_part_came(inventory: Inventory, told: Told) -> None:
    """Models that end between two parts of a request end no run."""
    inventory.add(order("a", more_to_come=True))
    inventory.apply(attempt("a"), Succeeded())
    assert not told.of(SimulationEnded)
    assert inventory.add(order("b", digest="digest-2")) == RUN
    inventory.apply(attempt("b"), Succeeded())
    assert len(told.of(SimulationEnded)) == 1


def test_a_last_part_that_adds_nothing_completes_the_run(inventory: Inventory, told: Told) -> None:
    """The word that nothing more follows counts, also where it names only models that are known."""
    inventory.add(order("a", more_to_come=True))
    inventory.apply(attempt("a"), Ready())
    assert inventory.add(order("a", digest="digest-2")) == RUN
    assert len(told.of(SimulationReady)) == 1


def test_a_part_that_comes_again_does_not_reopen_the_request(inventory: Inventory, told: Told) -> None:
    """The first part redelivered behind the last one does not hold the run open."""
    inventory.add(order("a", more_to_come=True))
    inventory.add(order("b", digest="digest-2"))
    inventory.add(order("a", more_to_come=True, redelivered=True))
    end_run(inventory)
    assert told.of(SimulationEnded)
    for digest in ("digest-1", "digest-2"):
        assert inventory.add(order("b", digest=digest, redelivered=True)) is None


def test_a_simulation_that_lives_under_another_so_is_rejected(inventory: Inventory, told: Told) -> None:
    """ReadyForProcessing does not say whose it is, so one id is one simulation at a time."""
    inventory.add(order("a"))
    count = len(told)
    for asked in (order("b", simulator="dots-so", digest="digest-2"), order("a", simulator="dots-so")):
        with pytest.raises(Rejected, match="another simulator"):
            inventory.add(asked)
    assert len(told) == count
    end_run(inventory)
    assert inventory.add(order("a", simulator="dots-so")) == RunKey(SIM, 2)


# -- retries ----------------------------------------------------------------------------------------------------------


def test_a_failure_with_retries_left_is_another_attempt(inventory: Inventory, told: Told) -> None:
    """A model that may be retried twice has three attempts, and is reported once, at the end of the last."""
    inventory.add(order(spec("a", retries=2)))
    for number in (1, 2):
        after = inventory.apply(attempt("a", number), crash(number))
        assert (after.state, after.attempt, after.exit_code) == (State.CREATED, number + 1, None)
        last = told[-1]
        assert isinstance(last, ModelChanged)
        assert last.event == Retry(crash(number))
    assert not told.ends
    inventory.apply(attempt("a", 3), crash(3))
    assert told.ends == [("a", State.FAILED)]
    assert known(inventory, key("a")).exit_code == 3
    assert told.kinds[-1] == "SimulationEnded"


def test_success_is_not_retried(inventory: Inventory, told: Told) -> None:
    """Retries are for failures."""
    inventory.add(order(spec("a", retries=2)))
    inventory.apply(attempt("a"), Succeeded())
    assert told.ends == [("a", State.SUCCEEDED)]


def test_what_was_stopped_is_not_retried(inventory: Inventory, told: Told) -> None:
    """A backplane that says of an attempt that it was told to end it has not seen a failure."""
    inventory.add(order(spec("a", retries=2)))
    inventory.apply(attempt("a"), crash(NO_EXIT_CODE, Reason.STOPPED))
    assert told.ends == [("a", State.FAILED)]


@pytest.mark.parametrize("event", (Ready(), Succeeded(), crash()))
@pytest.mark.parametrize("number", (1, 3))
def test_only_the_present_attempt_counts(inventory: Inventory, told: Told, number: int, event: Event) -> None:
    """What is heard of an attempt that is past, or that never was, changes nothing."""
    inventory.add(order(spec("a", retries=1)))
    inventory.apply(attempt("a", 1), crash())
    count = len(told)
    assert inventory.apply(attempt("a", number), event).state is State.CREATED
    assert len(told) == count


def test_another_attempt_has_to_announce_itself_anew(inventory: Inventory, told: Told) -> None:
    """What the first attempt announced is not true of the second: ModelsReady waits for that."""
    inventory.add(order(spec("a", retries=1), "b"))
    inventory.apply(attempt("a"), Ready())
    inventory.apply(attempt("a"), crash())
    inventory.apply(attempt("b"), Ready())
    assert not told.of(SimulationReady)
    inventory.apply(attempt("a", 2), Ready())
    assert len(told.of(SimulationReady)) == 1


def test_a_retry_after_models_ready_does_not_repeat_it(inventory: Inventory, told: Told) -> None:
    """ModelsReady goes out once a run, whatever the attempts do."""
    inventory.add(order(spec("a", retries=1)))
    inventory.apply(attempt("a"), Ready())
    inventory.apply(attempt("a"), crash())
    inventory.apply(attempt("a", 2), Ready())
    assert len(told.of(SimulationReady)) == 1


# -- stopping ---------------------------------------------------------------------------------------------------------


def test_to_stop_is_told_once(inventory: Inventory, told: Told) -> None:
    """A second SimulationDone is harmless."""
    inventory.add(order("a"))
    inventory.stop(RUN, "why")
    inventory.stop(RUN, "again")
    assert told.of(SimulationStopping) == [SimulationStopping(RUN, request(), "why")]


def test_a_run_that_ended_is_not_stopped(inventory: Inventory, told: Told) -> None:
    """SimulationDone after the end is no news."""
    inventory.add(order("a"))
    end_run(inventory)
    inventory.stop(RUN, "why")
    assert not told.of(SimulationStopping)


def test_what_is_unknown_cannot_be_stopped(inventory: Inventory) -> None:
    """To stop a run that never was is an error of the caller."""
    with pytest.raises(UnknownModel):
        inventory.stop(RUN, "why")


@pytest.mark.parametrize(
    ("end", "state", "reason"),
    (
        (Succeeded(), State.SUCCEEDED, Reason.COMPLETED),
        (crash(4), State.FAILED, Reason.ERROR),
    ),
)
def test_who_ends_within_the_grace_ends_by_itself(inventory: Inventory, end: End, state: State, reason: Reason) -> None:
    """Exit code 0 within the grace is SUCCESSFULL, any other is the model's own failure."""
    inventory.add(order("a"))
    inventory.stop(RUN, "why")
    ended = inventory.apply(attempt("a"), end)
    assert (ended.state, ended.reason) == (state, reason)


@pytest.mark.parametrize(
    ("end", "exit_code"), ((Succeeded(), ENDED_BY_SIGTERM), (crash(143), 143), (crash(137), 137), (crash(-1), -1))
)
def test_what_had_to_be_removed_is_stopped(inventory: Inventory, end: End, exit_code: int) -> None:
    """Whoever ends after the removal began is FAILED `Stopped`, also one that answers SIGTERM with exit code 0."""
    inventory.add(order("a"))
    inventory.stop(RUN, "why")
    inventory.begin_removal(RUN)
    ended = inventory.apply(attempt("a"), end)
    assert (ended.state, ended.reason, ended.exit_code) == (State.FAILED, Reason.STOPPED, exit_code)


def test_an_end_within_the_grace_that_is_heard_of_later_keeps_its_word(inventory: Inventory, clock: Clock) -> None:
    """It counts how the model ended, not when that was heard: what has a time of its own ended by itself."""
    inventory.add(order("a", "b"))
    inventory.stop(RUN, "why")
    within = clock.move(29)
    clock.move(1)
    inventory.begin_removal(RUN)
    assert inventory.apply(attempt("a"), Succeeded(finished_at=within)).state is State.SUCCEEDED
    assert inventory.apply(attempt("b"), Succeeded()).reason is Reason.STOPPED


def test_a_run_that_is_not_stopping_is_not_removed(inventory: Inventory) -> None:
    """A grace that ends without a stop has no consequence."""
    inventory.add(order("a"))
    inventory.begin_removal(RUN)
    inventory.begin_removal(RunKey(SIM, 7))
    assert inventory.apply(attempt("a"), Succeeded()).state is State.SUCCEEDED


def test_a_stopping_run_retries_nothing(inventory: Inventory, told: Told) -> None:
    """A failure while the run is being stopped is the end, whatever retries are left."""
    inventory.add(order(spec("a", retries=3)))
    inventory.stop(RUN, "why")
    inventory.apply(attempt("a"), crash())
    assert told.ends == [("a", State.FAILED)]


def test_a_stopping_run_is_never_ready(inventory: Inventory, told: Told) -> None:
    """ModelsReady for a simulation that is over would begin it again."""
    inventory.add(order("a"))
    inventory.stop(RUN, "why")
    inventory.apply(attempt("a"), Ready())
    assert not told.of(SimulationReady)


def test_a_stopped_run_does_not_wait_for_more(inventory: Inventory, told: Told) -> None:
    """SimulationDone between two parts of a request ends the run with what it has."""
    inventory.add(order("a", more_to_come=True))
    inventory.apply(attempt("a"), Succeeded())
    inventory.stop(RUN, "why")
    assert told.kinds[-2:] == ["SimulationStopping", "SimulationEnded"]


def test_a_stopping_run_takes_no_models(inventory: Inventory, told: Told) -> None:
    """A DeployModels for a simulation that is being stopped is rejected, and nothing of it is done."""
    inventory.add(order("a"))
    inventory.stop(RUN, "why")
    count = len(told)
    for asked in (order("b", digest="digest-2"), order("a")):
        with pytest.raises(Rejected, match="being stopped"):
            inventory.add(asked)
    assert len(told) == count


def test_a_stopping_run_ignores_what_it_took_before(inventory: Inventory, told: Told) -> None:
    """A redelivery, or a request of a known id, is harmless also while the run is being stopped."""
    inventory.add(order("a", request_id="r-1"))
    inventory.stop(RUN, "why")
    count = len(told)
    assert inventory.add(order("a", redelivered=True)) is None
    assert inventory.add(order("a", request_id="r-1", digest="digest-2")) is None
    assert len(told) == count


def test_stop_all_stops_the_others_when_one_fails(inventory: Inventory, told: Told) -> None:
    """With STOP_ALL the failure of one model is the end of its run."""
    inventory.add(order("a", "b", failure_policy=FailurePolicy.STOP_ALL))
    inventory.apply(attempt("a"), crash())
    assert told.kinds[-2:] == ["ModelChanged", "SimulationStopping"]


def test_stop_all_waits_for_the_last_attempt(inventory: Inventory, told: Told) -> None:
    """A failure that is retried stops nobody; a success neither."""
    inventory.add(order(spec("a", retries=1), "b", "c", failure_policy=FailurePolicy.STOP_ALL))
    inventory.apply(attempt("a"), crash())
    inventory.apply(attempt("b"), Succeeded())
    assert not told.of(SimulationStopping)
    inventory.apply(attempt("a", 2), crash())
    assert len(told.of(SimulationStopping)) == 1


def test_keep_others_keeps_the_others(inventory: Inventory, told: Told) -> None:
    """Without a policy, as in version 1, the failure of one model is its own."""
    inventory.add(order("a", "b"))
    inventory.apply(attempt("a"), crash())
    assert not told.of(SimulationStopping)


# -- adopting ---------------------------------------------------------------------------------------------------------


def adopt(inventory: Inventory, found: Iterable[tuple[Model, End | None]], *marks: Mark, run: int = 1) -> None:
    inventory.adopt(RunKey(SIM, run), found, frozenset(marks))


def test_a_run_is_adopted_as_it_is_found(inventory: Inventory, told: Told) -> None:
    """What lives goes on, what ended meanwhile is told, in this order."""
    adopt(inventory, [(model("a"), None), (model("b"), Succeeded()), (model("c"), crash(3))])
    assert told[0] == SimulationAdopted(RUN, request(), 3, 1, frozenset(), (key("a"),))
    assert told.ends == [("b", State.SUCCEEDED), ("c", State.FAILED)]
    assert known(inventory, key("a")).state is State.CREATED
    inventory.apply(attempt("a"), Succeeded())
    assert told.kinds[-1] == "SimulationEnded"


def test_an_adopted_run_whose_models_ended_ends(inventory: Inventory, told: Told) -> None:
    """Nothing is lost of a run that ended while nobody watched."""
    adopt(inventory, [(model("a"), Succeeded())])
    assert told.kinds == ["SimulationAdopted", "ModelChanged", "SimulationEnded"]


def test_an_adopted_run_keeps_its_number(inventory: Inventory) -> None:
    """The run after an adopted one has the next number, and a redelivery of its order opens none."""
    adopt(inventory, [(model("a", run=4), Succeeded())], run=4)
    assert inventory.add(order("a", redelivered=True)) is None
    assert inventory.add(order("a")) == RunKey(SIM, 5)


def test_an_adopted_run_knows_the_requests_that_made_it(inventory: Inventory) -> None:
    """Every part of the request is known again, from the models that it asked for."""
    parts = [
        (model("a", request=request(request_id="r-1")), Succeeded()),
        (model("b", request=request(request_id="r-2", digest="digest-2")), Succeeded()),
    ]
    adopt(inventory, parts)
    assert inventory.add(order("a", request_id="r-1")) is None
    assert inventory.add(order("b", digest="digest-2", redelivered=True)) is None


def test_an_adopted_run_does_not_wait_for_more(inventory: Inventory, told: Told) -> None:
    """Which part came last is not known any more; a run that waited for it for ever would never end."""
    adopt(inventory, [(model("a", request=request(more_to_come=True)), Succeeded())])
    assert told.kinds[-1] == "SimulationEnded"


def test_without_the_mark_adopted_models_announce_themselves_again(inventory: Inventory, told: Told) -> None:
    """Who was ready died with the earlier process: ModelsReady comes when all said it to this one."""
    adopt(inventory, [(model("a"), None), (model("b"), None)])
    inventory.apply(attempt("a"), Ready())
    assert not told.of(SimulationReady)
    inventory.apply(attempt("b"), Ready())
    assert len(told.of(SimulationReady)) == 1


def test_a_run_marked_as_ready_is_not_announced_again(inventory: Inventory, told: Told) -> None:
    """Its models are RUNNING, and ModelsReady never comes a second time."""
    adopt(inventory, [(model("a"), None), (model("b"), None)], Mark.READY)
    assert known(inventory, key("a")).state is State.RUNNING
    inventory.apply(attempt("a"), Ready())
    inventory.add(order("c", digest="digest-2"))
    inventory.apply(attempt("c"), Ready())
    assert not told.of(SimulationReady)


def test_a_run_marked_as_stopping_goes_on_stopping(inventory: Inventory, told: Told) -> None:
    """SimulationDone that an earlier process acknowledged is obeyed by the next one."""
    adopt(inventory, [(model("a", spec=spec("a", retries=1)), None)], Mark.STOPPING)
    assert len(told.of(SimulationStopping)) == 1
    inventory.apply(attempt("a"), crash())
    assert told.ends == [("a", State.FAILED)]


def test_an_end_in_a_stopping_run_is_not_retried_after_adoption_either(inventory: Inventory, told: Told) -> None:
    """What failed while the run was being stopped is told as it failed, retries or not."""
    adopt(inventory, [(model("a", spec=spec("a", retries=1)), crash(3)), (model("b"), None)], Mark.STOPPING)
    assert told.ends == [("a", State.FAILED)]
    assert known(inventory, key("a")).exit_code == 3


def test_a_run_marked_as_reported_is_told_to_nobody(inventory: Inventory, told: Told) -> None:
    """All was said of it already: it is only kept for its logs, and its id is free."""
    adopt(inventory, [(model("a"), Succeeded()), (model("b"), crash(3))], Mark.READY, Mark.REPORTED)
    assert told.kinds == ["SimulationAdopted"]
    assert known(inventory, key("b")).state is State.FAILED
    assert live_runs(inventory) == []
    assert inventory.add(order("a", redelivered=True)) is None
    assert inventory.add(order("a")) == RunKey(SIM, 2)


def test_what_still_lives_of_a_reported_run_is_never_told_again(inventory: Inventory, told: Told) -> None:
    """The end of a model that was given up, and whose removal an interruption cut short, is no second termination."""
    adopt(inventory, [(model("a"), None), (model("b"), Succeeded())], Mark.REPORTED)
    inventory.apply(attempt("a"), crash(137))
    assert told.kinds == ["SimulationAdopted"]
    assert known(inventory, key("a")).state is State.FAILED


def test_a_failed_attempt_is_retried_after_adoption(inventory: Inventory, told: Told) -> None:
    """A model whose first attempt failed while nobody watched has its second."""
    adopt(inventory, [(model("a", spec=spec("a", retries=1)), crash())])
    assert not told.ends
    assert known(inventory, key("a")).attempt == 2


def test_adoption_obeys_stop_all(inventory: Inventory, told: Told) -> None:
    """A failure that nobody watched stops the others all the same."""
    asked = request(failure_policy=FailurePolicy.STOP_ALL)
    adopt(inventory, [(model("a", request=asked), crash()), (model("b", request=asked), None)])
    assert len(told.of(SimulationStopping)) == 1


def test_a_run_that_is_known_is_not_adopted(inventory: Inventory) -> None:
    """Neither a live run, nor an ended one, nor one that is forgotten comes back."""
    inventory.add(order("a"))
    steps: list[Callable[[], None]] = [lambda: None, lambda: end_run(inventory), lambda: inventory.forget(RUN)]
    for step in steps:
        step()
        assert not inventory.is_new(RUN)
        with pytest.raises(ValueError, match="known already"):
            adopt(inventory, [(model("a"), None)])
    assert inventory.is_new(RunKey(SIM, 2))


# -- forgetting -------------------------------------------------------------------------------------------------------


def test_a_forgotten_run_is_gone(inventory: Inventory, told: Told) -> None:
    """Each of its models is told as removed, and nothing can be asked of it any more."""
    inventory.add(order("a", "b"))
    end_run(inventory)
    inventory.forget(RUN)
    assert [change.model.key.model for change in told.of(ModelRemoved) if isinstance(change, ModelRemoved)] == [
        "a",
        "b",
    ]
    assert list(inventory.runs()) == []
    assert inventory.model(key("a")) is None
    assert inventory.newest_run(SIM) is None


def test_to_forget_what_is_unknown_is_harmless(inventory: Inventory, told: Told) -> None:
    """Twice, or never known: nothing happens."""
    inventory.forget(RUN)
    inventory.add(order("a"))
    end_run(inventory)
    inventory.forget(RUN)
    count = len(told)
    inventory.forget(RUN)
    assert len(told) == count


def test_to_forget_an_old_run_leaves_the_new_one(inventory: Inventory) -> None:
    """The logs of a run may be removed while the next one lives."""
    inventory.add(order("a"))
    end_run(inventory)
    inventory.add(order("a"))
    inventory.forget(RUN)
    assert [run.key for run in inventory.runs()] == [RunKey(SIM, 2)]
    inventory.apply(attempt("a", run=2), Ready())
    assert known(inventory, key("a", run=2)).state is State.RUNNING


def test_memory_is_bounded(clock: Clock) -> None:
    """After 30,000 simulations that left nothing behind, only the last ones are remembered."""
    inventory = Inventory(now=clock)
    count = 3 * REMEMBERED_SIMULATIONS
    asked = order("a")
    for number in range(count):
        name = SimulationId(f"sim-{number}")
        inventory.add(order("a", simulation=name))
        inventory.apply(attempt("a", simulation=name), Succeeded())
        inventory.forget(RunKey(name, 1))
    remembered = [number for number in range(count) if not inventory.is_new(RunKey(SimulationId(f"sim-{number}"), 1))]
    assert remembered == list(range(count - REMEMBERED_SIMULATIONS, count))
    assert inventory.add(asked) == RUN


def test_what_lives_is_never_forgotten_to_save_memory(clock: Clock) -> None:
    """A simulation that came back is not among the bygone ones."""
    inventory = Inventory(now=clock)
    inventory.add(order("a"))
    inventory.apply(attempt("a"), Succeeded())
    inventory.forget(RUN)
    inventory.add(order("a"))
    for number in range(REMEMBERED_SIMULATIONS + 1):
        name = SimulationId(f"other-{number}")
        inventory.add(order("a", simulation=name))
        inventory.apply(attempt("a", simulation=name), Succeeded())
        inventory.forget(RunKey(name, 1))
    assert inventory.apply(attempt("a", run=2), Ready()).state is State.RUNNING


# -- observers --------------------------------------------------------------------------------------------------------


def test_every_observer_hears_every_change_in_order(inventory: Inventory) -> None:
    """Observers do not depend on each other."""
    one, two = Told(inventory), Told(inventory)
    inventory.add(order("a"))
    inventory.apply(attempt("a"), Ready())
    end_run(inventory)
    assert one == two
    assert one.kinds == [
        "SimulationAdded",
        "ModelAdded",
        "ModelChanged",
        "SimulationReady",
        "ModelChanged",
        "SimulationEnded",
    ]


def test_the_state_is_whole_when_it_is_told(inventory: Inventory) -> None:
    """Who looks into the inventory while a Change is told sees it as it will stay."""
    seen: list[tuple[str, int, bool]] = []

    def look(change: Change) -> None:
        run = inventory.run(RUN)
        assert run
        seen.append((type(change).__name__, len(run.models), run.ended_at is not None))

    inventory.subscribe(look)
    inventory.add(order("a", "b"))
    assert seen == [(name, 2, False) for name in ("SimulationAdded", "ModelAdded", "ModelAdded")]
    inventory.apply(attempt("a"), Succeeded())
    seen.clear()
    inventory.apply(attempt("b"), Succeeded())
    assert seen == [("ModelChanged", 2, True), ("SimulationEnded", 2, True)]


def test_an_observer_that_calls_back_is_an_error(inventory: Inventory) -> None:
    """Facts come from the loops; an observer that makes some would put the Changes out of order."""
    inventory.subscribe(lambda change: inventory.stop(RUN, "because"))
    with pytest.raises(RuntimeError, match="called back"):
        inventory.add(order("a"))


def test_an_observer_that_raises_is_not_the_fault_of_the_fact(inventory: Inventory) -> None:
    """Some have heard of the Change and others never will: that is told apart from what a message can cause."""

    def stumble(_: object) -> None:
        raise ValueError("in an observer")

    inventory.subscribe(stumble)
    with pytest.raises(ObserverFailed, match="in an observer"):
        inventory.add(order("a"))


def test_the_request_ids_that_are_remembered_are_bounded(inventory: Inventory) -> None:
    """A simulation that is run for months does not grow: the oldest ids are forgotten, the newest known."""
    for number in range(REMEMBERED_REQUESTS + 1):
        inventory.add(order("a", request_id=f"r-{number}", digest=f"digest-{number}"))
    inventory.apply(attempt("a"), Succeeded())
    assert inventory.add(order("a", request_id=f"r-{REMEMBERED_REQUESTS}")) is None
    assert inventory.add(order("a", request_id="r-1")) is None
    assert inventory.add(order("a", request_id="r-0")) == RunKey(SIM, 2)


def test_times_are_utc_by_default() -> None:
    """Without a clock of its own the inventory reads that of the machine, with its zone."""
    inventory = Inventory()
    inventory.add(order("a"))
    assert known(inventory, key("a")).created_at.tzinfo is UTC


def test_what_is_told_of_a_change_is_before_and_after(inventory: Inventory, told: Told, clock: Clock) -> None:
    """A ModelChanged carries the model as it was and as it is."""
    inventory.add(order("a"))
    before = known(inventory, key("a"))
    after = without(before, state=State.RUNNING, ready=True, since=clock.move(1))
    inventory.apply(attempt("a"), Ready())
    assert told.of(ModelChanged) == [ModelChanged(before, after, Ready())]
    assert told.of(ModelAdded) == [ModelAdded(before)]
    assert before.key.model == ModelId("a")
