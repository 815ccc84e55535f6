"""What earlier releases wrote is served by this one: their ledgers, and the pods that they left running.

Each release has a directory under tests/releases: its ledger as SQL, and pods as its API server showed them. Nothing in
there is ever changed; a new release adds one.
"""

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mso.backplane import Mark
from mso.backplane.pods import PodSettings, attempt_of, pod_manifest, pod_name, run_selector
from mso.backplane.roster import Limits, Roster
from mso.inventory import Inventory
from mso.ledger import Recovered
from mso.ledger.sql import SqlLedger
from mso.model import (
    Attempt,
    EnvironmentVariable,
    FailurePolicy,
    Model,
    ModelId,
    ModelKey,
    ModelSpec,
    Reason,
    Resources,
    RunKey,
    SimulationId,
    State,
)
from mso.outbox import Kind
from mso.recovery import restore

RELEASES = sorted(path.name for path in (Path(__file__).parent / "releases").iterdir())
SIM = SimulationId("sim02-abc")
RUN = RunKey(SIM, 2)


@pytest.fixture(params=RELEASES)
def release(request: pytest.FixtureRequest) -> Path:
    name: str = request.param
    return Path(__file__).parent / "releases" / name


@pytest.fixture
async def recovered(release: Path, tmp_path: Path) -> Recovered:
    """What this release reads from a ledger of that one."""
    path = tmp_path / "ledger.sqlite"
    with sqlite3.connect(path) as connection:
        connection.executescript((release / "ledger.sql").read_text())
    connection.close()
    async with SqlLedger(path) as ledger:
        await ledger.claim()
        return await ledger.recover()


def of(recovered: Recovered, model: str) -> Model:
    (run,) = recovered.runs
    return next(one.model for one in run.models if one.model.key.model == model)


def test_its_runs_are_known(recovered: Recovered) -> None:
    """The one that lives, with all that was asked for and how it stands; and that there was one before it."""
    (run,) = recovered.runs
    assert (run.record.key, run.record.announced, run.record.ended_at) == (RUN, False, None)
    assert run.record.request.failure_policy is FailurePolicy.KEEP_OTHERS
    assert run.record.request.keep_logs == timedelta(hours=1)
    assert {one.model.key.model: (one.model.state, one.model.attempt, one.deployed) for one in run.models} == {
        "heat pump": (State.RUNNING, 2, True),
        "süd-1": (State.RUNNING, 1, True),
        "lost": (State.FAILED, 1, True),
        "waits": (State.CREATED, 1, False),
    }
    inventory = Inventory()
    restore(inventory, recovered)
    newest = inventory.newest_run(SIM)
    assert newest
    assert newest.key == RUN
    assert {request.request_id for request in run.requests} == {"r-2"}


def test_the_end_of_a_model_is_what_it_was(recovered: Recovered) -> None:
    """Exit code, reason, machine and times."""
    lost = of(recovered, "lost")
    assert (lost.exit_code, lost.reason, lost.node) == (137, Reason.OOM_KILLED, "node-b")
    assert lost.message == "it used more memory than its limit"
    assert lost.finished_at == datetime(2026, 11, 26, 10, 2, 43, tzinfo=UTC)


def test_what_waited_to_be_told_goes_on_waiting(recovered: Recovered) -> None:
    """In its order; the one that was held is held, and of the ModelsReady that may have gone the session is known."""
    assert [(row.number, row.kind, row.held, bool(row.witness)) for row in recovered.rows] == [
        (3, Kind.MODELS_READY, False, True),
        (4, Kind.TERMINATION, True, False),
    ]
    assert recovered.last_row == 4


def test_a_specification_is_the_same_as_it_was(recovered: Recovered) -> None:
    """To the last field: else a repeated request would be taken for another one."""
    assert of(recovered, "heat pump").spec == ModelSpec(
        ModelId("heat pump"),
        "registry.example.org/heat-pump:2.1",
        environment=(
            EnvironmentVariable("MODEL_ID", "heat pump"),
            EnvironmentVariable("PASSWORD", "", secret_name="broker", secret_key="password"),
        ),
        resources=Resources("500m", "1Gi", "2", "2Gi", 1),
        ready_timeout=timedelta(seconds=90),
        max_runtime=timedelta(hours=2),
        retries=2,
        command=("python", "-m", "heat_pump"),
        args=("--fast",),
    )


def test_its_pods_are_those_of_the_models_in_its_ledger(release: Path, recovered: Recovered) -> None:
    """Their names and labels are the ones that this release gives, so that nothing is created twice or left behind."""
    for pod in json.loads((release / "pods.json").read_text()):
        attempt = attempt_of(pod)
        assert attempt
        assert pod["metadata"]["name"] == pod_name(attempt)
        assert (
            run_selector(attempt.key.run_key).partition(",")[2]
            == f"mso/run-id={pod['metadata']['labels']['mso/run-id']}"
        )
        expected = pod_manifest(of(recovered, attempt.key.model), PodSettings())
        assert pod["metadata"]["labels"] == expected["metadata"]["labels"]


def test_its_pods_can_be_adopted_without_its_ledger(release: Path, recovered: Recovered) -> None:
    """Their annotations hold the model as it was asked for, and the marks of the run."""
    roster = Roster(Limits())
    entries = [entry for pod in json.loads((release / "pods.json").read_text()) if (entry := roster.see(pod))]
    recollections = [roster.observe(entry).recall() for entry in entries]
    assert {one.model.current for one in recollections} == {
        Attempt(ModelKey(*RUN, ModelId("heat pump")), 2),
        Attempt(ModelKey(*RUN, ModelId("süd-1")), 1),
    }
    for one in recollections:
        assert one.model.spec == of(recovered, one.model.key.model).spec
        assert one.model.request == of(recovered, one.model.key.model).request
        assert one.marks == {Mark.READY}
