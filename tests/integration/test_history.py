"""What is known when nothing is left: the history of a service that runs, that has run, and that never did."""

import csv
import io
import json
from pathlib import Path

import pytest

from tests.peer import Peer, configuration, order
from tests.service import MsoProcess


@pytest.fixture
def past(mso: MsoProcess, peer: Peer) -> MsoProcess:
    """One simulation of two models has been, and nothing of it is left where models run."""
    models = (configuration("good", "ends:0"), configuration("bad", "ends:code", CODE="7"))
    peer.deploy("sim", order(*models, version=2))
    peer.wait_for_end("sim")
    mso.wait_for_event("model.removed", 2)
    mso.wait_for_event("simulation.reported")
    return mso


def test_simulations_are_listed_with_what_became_of_their_models(past: MsoProcess) -> None:
    """A line each, beside a running service."""
    header, line = past.command("history").stdout.splitlines()
    assert header.split()[:4] == ["simulation", "run", "simulator", "state"]
    assert line.split()[:9] == ["sim", "1", "test-so", "ended", "2", "0", "0", "1", "1"]


def test_the_models_of_one_are_listed_with_how_they_ended(past: MsoProcess) -> None:
    """As JSON for other programs: exit code, reason, image, times."""
    listed = json.loads(past.command("history", "--simulation", "sim", "--format", "json").stdout)
    assert [(one["model"], one["state"], one["exit_code"], one["reason"]) for one in listed] == [
        ("good", "succeeded", 0, "Completed"),
        ("bad", "failed", 7, "Error"),
    ]
    assert all(one["image"] and one["finished"] for one in listed)


def test_a_spreadsheet_can_read_it(past: MsoProcess) -> None:
    """CSV with a header."""
    rows = list(csv.DictReader(io.StringIO(past.command("history", "--simulation", "sim", "--format", "csv").stdout)))
    assert [(row["model"], row["exit_code"]) for row in rows] == [("good", "0"), ("bad", "7")]


def test_the_last_lines_of_a_model_outlive_it(past: MsoProcess) -> None:
    """Its log is gone, and what it wrote last is shown; also when the service is gone."""
    assert past.stop() == 0
    told = past.command("logs", "sim", "bad")
    assert told.returncode == 0
    assert "going to end with 7" in told.stdout
    assert "exit code 7" in told.stdout


def test_what_is_not_known_is_said(past: MsoProcess) -> None:
    """Status 1, and what to look at instead."""
    for arguments, hint in (
        (("history", "--simulation", "nobody"), "mso history lists"),
        (("history", "--simulation", "sim", "--run", "5"), "there are 1"),
        (("logs", "sim", "nobody"), "mso history --simulation sim"),
        (("logs", "sim", "good"), "models that failed"),
    ):
        told = past.command(*arguments)
        assert told.returncode == 1
        assert hint in told.stdout


def test_without_a_ledger_it_says_where_it_looked(mso: MsoProcess, tmp_path: Path) -> None:
    """And makes none."""
    assert mso.stop() == 0
    mso.set("MSO_STATE_DIR", str(tmp_path / "elsewhere"))
    told = mso.command("history")
    assert told.returncode == 1
    assert "elsewhere" in told.stdout
    assert not (tmp_path / "elsewhere").exists()


def test_nothing_is_sent_again_that_was_not_withheld(past: MsoProcess, peer: Peer) -> None:
    """resend-ready of a simulation that has been told what it had to be: status 1, and no message."""
    before = peer.names("sim")
    told = past.command("resend-ready", "sim")
    assert told.returncode == 1
    assert "no ModelsReady of sim is withheld" in told.stdout
    assert peer.names("sim") == before
