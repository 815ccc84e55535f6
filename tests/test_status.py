"""What `mso status` shows of what the ledger holds, in every state that a model can end in or wait in."""

import json
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mso import history, status
from mso.ledger import AttemptDeployed, Entry, Ledger, ModelAsked, RowDone, RowPut, RunForgotten, RunKept, RunRecord
from mso.ledger.sql import SqlLedger
from mso.model import Model, Reason, RunKey, SimulationId, State
from mso.outbox import Kind, Row
from mso.status import Simulation, Status
from mso.supervision import Said
from tests.builders import NOW, RUN, SIM, model, request, spec

HERE = Said(ok=True, reasons=())


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    async with SqlLedger(tmp_path / "ledger.sqlite") as ledger:
        await ledger.claim()
        yield ledger


def ended(name: str, reason: Reason, exit_code: int, message: str = "", **fields: Any) -> Model:
    state = State.SUCCEEDED if reason is Reason.COMPLETED else State.FAILED
    values: dict[str, Any] = {"state": state, "exit_code": exit_code, "reason": reason, "message": message}
    return model(name, **(values | fields))


def opened(*models: Model, run: RunKey = RUN, created: bool = True, **record: Any) -> list[Entry]:
    """A run of these."""
    asked = request(run.simulation)
    entries: list[Entry] = [RunKept(RunRecord(run, asked, **record))]
    entries += [ModelAsked(one) for one in models]
    if created:
        entries += [AttemptDeployed(one.current) for one in models]
    return entries


def shown(
    simulations: Sequence[Simulation], service: Said | None = HERE, *, one: bool = False, width: int = 400
) -> str:
    console = Console(width=width, highlight=False, color_system=None)
    with console.capture() as captured:
        console.print(status.as_page(Status(tuple(simulations), service), NOW + timedelta(seconds=75), one=one))
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


async def test_each_state_of_a_pod_is_told_with_its_reason(ledger: Ledger) -> None:
    """Deleted, evicted, not pulled, not scheduled, late, out of memory, lost: state, attempt, age, reason."""
    await ledger.commit(
        opened(
            model("boots"),
            model("works", state=State.RUNNING, ready=True, since=NOW + timedelta(seconds=60)),
            ended("done", Reason.COMPLETED, 0, ready=True, node="node-1"),
            ended("deleted", Reason.POD_DELETED, -1, "the pod was deleted"),
            ended("evicted", Reason.EVICTED, -1, "Pod was evicted: low on memory", node="node-2"),
            ended("unpulled", Reason.IMAGE_PULL_FAILED, -1, 'Back-off pulling image "no:1"'),
            ended("homeless", Reason.UNSCHEDULABLE, -1, "0/3 nodes are available"),
            ended("mute", Reason.READY_TIMEOUT, -1, "not ready after 60 s"),
            ended("greedy", Reason.OOM_KILLED, 137, "exit code 137", ready=True, node="node-1"),
            ended("init", Reason.ERROR, 3, "init container setup: exit code 3", node="node-1"),
            ended("lost", Reason.NODE_LOST, -1, "node ghost is silent"),
            ended("refused", Reason.DEPLOY_FAILED, -1, "pods is forbidden"),
            ended("again", Reason.ERROR, 1, "exit code 1", attempt=3, node="node-1"),
            ended("stopped", Reason.STOPPED, -1, "its simulation was stopped"),
        )
    )
    assert shown([await status.of_one(ledger, SIM)], one=True) == (
        """\
service: alive and ready
sim-1: run 1 for essim, not ready, opened 1m15s ago: 1 created, 1 running, 1 succeeded, 11 failed
not ready yet: boots
failed: deleted, evicted, unpulled, homeless, mute, greedy, init, lost, refused, again and 1 more; what they wrote last: mso logs sim-1 deleted
model     state      ready  attempt  age    reason           exit  node    message
boots     created    no           1  1m15s  -                   -  -       -
works     running    yes          1  15s    -                   -  -       -
done      succeeded  yes          1  1m15s  Completed           0  node-1  -
deleted   failed     no           1  1m15s  PodDeleted         -1  -       the pod was deleted
evicted   failed     no           1  1m15s  Evicted            -1  node-2  Pod was evicted: low on memory
unpulled  failed     no           1  1m15s  ImagePullFailed    -1  -       Back-off pulling image "no:1"
homeless  failed     no           1  1m15s  Unschedulable      -1  -       0/3 nodes are available
mute      failed     no           1  1m15s  ReadyTimeout       -1  -       not ready after 60 s
greedy    failed     yes          1  1m15s  OOMKilled         137  node-1  exit code 137
init      failed     no           1  1m15s  Error               3  node-1  init container setup: exit code 3
lost      failed     no           1  1m15s  NodeLost           -1  -       node ghost is silent
refused   failed     no           1  1m15s  DeployFailed       -1  -       pods is forbidden
again     failed     no           3  1m15s  Error               1  node-1  exit code 1
stopped   failed     no           1  1m15s  Stopped            -1  -       its simulation was stopped"""  # noqa: E501
    )


async def test_simulations_are_told_with_how_their_models_stand(ledger: Ledger) -> None:
    """Each that lives, the last opened first: waiting, not ready, ready, stopping."""
    waits, boots, works, stops = (RunKey(SimulationId(name), 1) for name in ("waits", "boots", "works", "stops"))
    await ledger.commit(
        [
            *opened(model("m", simulation="stops", state=State.RUNNING), run=stops, announced=True, stopping=True),
            *opened(model("m", simulation="works", state=State.RUNNING, ready=True), run=works, announced=True),
            *opened(model("m", simulation="boots"), model("n", simulation="boots"), run=boots),
            *opened(model("m", simulation="waits"), run=waits, created=False),
        ]
    )
    assert shown(await status.of_all(ledger, ended=False)) == (
        """\
service: alive and ready
waiting: waits: no model of it was created yet; it waits for room (MSO_MAX_ACTIVE_PODS), for where models run, or for the service
simulation  run  simulator  state      age    models
waits         1  essim      waiting    1m15s  1 created
boots         1  essim      not ready  1m15s  2 created
works         1  essim      ready      1m15s  1 running
stops         1  essim      stopping   1m15s  1 running"""  # noqa: E501
    )


async def test_a_narrow_terminal_folds_what_may_be_long(ledger: Ledger) -> None:
    """Ids and messages; states, ages and reasons stay whole."""
    name = "a-model-with-a-long-name"
    await ledger.commit(opened(ended(name, Reason.UNSCHEDULABLE, -1, "0/3 nodes are available", node="a-node")))
    page = shown([await status.of_one(ledger, SIM)], one=True, width=80)
    assert max(map(len, page.splitlines())) <= 80
    assert "Unschedulable" in page


async def test_a_model_that_was_not_created_yet_is_told_to_be_so(ledger: Ledger) -> None:
    """Among others that were; a model of which only an earlier attempt was seen is not there either."""
    await ledger.commit([*opened(model("a"), model("b"), created=False), AttemptDeployed(model("a").current)])
    page = shown([await status.of_one(ledger, SIM)], one=True)
    assert [line.split()[-3:] for line in page.splitlines() if line.startswith("b ")] == [["not", "created", "yet"]]
    assert "not ready yet: a, b" in page


async def test_what_has_ended_is_shown_as_long_as_something_of_it_is_left(ledger: Ledger) -> None:
    """With --all only; what was forgotten is history."""
    kept, gone = RunKey(SimulationId("kept"), 1), RunKey(SimulationId("gone"), 1)
    await ledger.commit(
        [
            *opened(model(), run=RUN),
            *opened(ended("m", Reason.COMPLETED, 0, simulation="kept"), run=kept, ended_at=NOW),
            *opened(ended("m", Reason.COMPLETED, 0, simulation="gone"), run=gone, ended_at=NOW),
            RunForgotten(gone, NOW),
        ]
    )
    assert [one.run.record.key.simulation for one in await status.of_all(ledger, ended=False)] == [SIM]
    assert [one.run.record.key.simulation for one in await status.of_all(ledger, ended=True)] == ["kept", SIM]


async def test_an_end_that_was_not_told_yet_is_said(ledger: Ledger) -> None:
    """The broker may be away."""
    await ledger.commit(opened(ended("m", Reason.COMPLETED, 0), ended_at=NOW))
    assert "has not taken its AllModelsHaveTerminated yet" in shown([await status.of_one(ledger, SIM)], one=True)


async def test_a_withheld_models_ready_is_told_with_the_way_out(ledger: Ledger) -> None:
    """It looks as if all were well, and nothing happens."""
    row = Row(1, Kind.MODELS_READY, SIM, "/topic", b"", RUN, witness="token")
    await ledger.commit([*opened(model(state=State.RUNNING, ready=True), announced=True), RowPut(row)])
    await ledger.commit([RowDone(1, withheld=True)])
    found = await status.of_all(ledger, ended=False)
    assert "mso resend-ready sim-1" in shown(found)
    assert "mso resend-ready sim-1" in shown([await status.of_one(ledger, SIM)], one=True)
    assert status.as_json(Status(found), one=False)["simulations"][0]["ready_withheld"] is True  # type: ignore[index]


async def test_the_newest_run_counts(ledger: Ledger) -> None:
    """An id is used again and again."""
    second = RunKey(SIM, 2)
    await ledger.commit(
        [
            *opened(ended("m", Reason.COMPLETED, 0), ended_at=NOW),
            *opened(model("other", run=2), run=second),
        ]
    )
    found = await status.of_one(ledger, SIM)
    assert found.run.record.key == second
    assert [past.model.key.model for past in found.models or ()] == ["other"]


async def test_an_unknown_simulation_is_said_to_be_unknown(ledger: Ledger) -> None:
    """And what to look at instead."""
    with pytest.raises(history.UnknownError, match="mso history lists"):
        await status.of_one(ledger, "nobody")


@pytest.mark.parametrize(
    ("said", "words"),
    (
        (None, "none answers on this machine"),
        (Said(ok=False, reasons=("the broker is not connected",)), "alive, not ready: the broker is not connected"),
        (HERE, "alive and ready"),
    ),
)
def test_what_the_service_says_stands_above(said: Said | None, words: str) -> None:
    """The ledger does not know whether anybody goes on writing it."""
    assert words in shown((), said)
    assert "no simulation lives" in shown((), said)


async def test_an_id_can_do_nothing_to_a_terminal(ledger: Ledger) -> None:
    """Neither with the commands of a terminal nor with the markup of the library that draws the table."""
    evil = SimulationId("\x1b[2Jsim")
    await ledger.commit(
        opened(ended("[red]m[/red]", Reason.ERROR, 1, "\x1b]0;title\x07 [bold]x", simulation=evil), run=RunKey(evil, 1))
    )
    page = shown([await status.of_one(ledger, evil)], one=True) + shown(await status.of_all(ledger, ended=True))
    assert "\x1b" not in page
    assert "\x07" not in page
    assert "[red]m[/red]" in page


async def test_json_has_the_fields_that_are_described(ledger: Ledger) -> None:
    """All of them, and values that other programs can read."""
    await ledger.commit(
        opened(ended("m", Reason.OOM_KILLED, 137, "killed", spec=spec("m", "image:2"), node="n"), run=RUN)
    )
    told = json.loads(json.dumps(status.as_json(Status((await status.of_one(ledger, SIM),), None), one=True)))
    assert told["service"] == {"alive": False, "ready": False, "reasons": []}
    assert told["simulation"] == {
        "simulation": "sim-1",
        "run": 1,
        "simulator": "essim",
        "state": "not ready",
        "ready": False,
        "ready_withheld": False,
        "models": 1,
        "created": 0,
        "running": 0,
        "succeeded": 0,
        "failed": 1,
        "undeployed": 0,
        "opened": "2026-05-04T12:00:00+00:00",
        "ended": None,
        "reported": None,
    }
    assert told["models"] == [
        {
            "model": "m",
            "state": "failed",
            "ready": False,
            "deployed": True,
            "attempt": 1,
            "since": "2026-05-04T12:00:00+00:00",
            "reason": "OOMKilled",
            "exit_code": 137,
            "message": "killed",
            "node": "n",
            "image": "image:2",
            "created": "2026-05-04T12:00:00+00:00",
            "started": None,
            "finished": None,
        }
    ]


def test_json_says_that_nobody_was_asked() -> None:
    """MSO_HTTP_PORT=0."""
    assert status.as_json(Status((), asked=False), one=False) == {"service": None, "simulations": []}
