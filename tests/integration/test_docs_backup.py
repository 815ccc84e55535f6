"""The recipes of docs/operate/backup.md, as they stand there: a ledger is saved while MSO runs, lost, and restored."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import StartMso
from tests.mosquitto import Mosquitto
from tests.peer import Peer, configuration, order
from tests.postgres import INSTALL_HINT, Databases, Postgres, available, external
from tests.service import MsoProcess

PAGE = Path(__file__).parents[2] / "docs" / "operate" / "backup.md"
RECIPES = dict(
    zip(
        ("sqlite3", "python3", "restore", "pg_dump", "pg_restore", "look"),
        re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL),
        strict=True,
    )
)


def follow(recipe: str, directory: Path, **environment: str) -> str:
    """Type it in that directory, with the Python of the tests; what it printed."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    typed = subprocess.run(
        ["sh", "-euc", RECIPES[recipe]],
        cwd=directory,
        env={"PATH": path, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert typed.returncode == 0, typed.stderr
    return typed.stdout


def begin(mso: MsoProcess, peer: Peer, gates: Path) -> None:
    """One simulation that is over, and one of which a model runs."""
    gates.mkdir()
    (mso.directory / ".mso").symlink_to("state")  # as it is called by default
    peer.deploy("over", order(configuration("good", "ends:0"), configuration("bad", "ends:code", CODE="3")))
    peer.wait_for_end("over")
    os.mkfifo(gates / "living")
    living = configuration("living", "gated", GATE=str(gates / "living"))
    peer.deploy("lives", order(living, keep_logs_hours=1))
    mso.wait_for_event("model.deployed", 3)


def go_on(mso: MsoProcess, peer: Peer, gates: Path) -> None:
    """What had been asked for before the copy is followed on, and told with its true exit code; the past is known."""
    mso.wait_for_probe("/readyz", 200)
    (gates / "living").write_text("7\n")
    told = peer.wait_for_end("lives")
    assert [(heard.model, heard.end.exitCode) for heard in told if heard.model] == [("living", 7)]
    history = mso.command("history", "--format", "csv").stdout
    assert re.search(r"^over,1,test-so,ended,2,0,0,1,1,", history, re.MULTILINE)


@pytest.fixture
def databases() -> Iterator[Databases]:
    if external():
        yield Databases(external())
    elif not available():
        pytest.skip(INSTALL_HINT)
    else:
        with Postgres() as server:
            yield server.databases


@pytest.mark.parametrize("recipe", ("sqlite3", "python3"))
def test_a_ledger_that_was_saved_while_the_service_ran_can_be_restored(
    mosquitto: Mosquitto, start_mso: StartMso, peer: Peer, tmp_path: Path, recipe: str
) -> None:
    """The disk is lost with all that was written since; the next service follows what runs, and knows the past."""
    if not shutil.which(recipe):
        pytest.skip(f"no {recipe} here")
    mso = start_mso(mosquitto)
    begin(mso, peer, tmp_path / "gates")
    follow(recipe, mso.directory)
    backup = mso.directory / "ledger.backup"
    assert backup.stat().st_mode & 0o077 == 0, "it holds secrets"
    mso.kill()
    for lost in (mso.directory / ".mso").glob("ledger.sqlite*"):
        lost.write_bytes(b"the disk is broken")
    assert mso.command("history").returncode == 1
    follow("restore", mso.directory)
    mso.start()
    assert [event["runs"] for event in mso.events("ledger.opened")][-1] >= 1
    assert mso.events("ledger.set_aside") == []
    go_on(mso, peer, tmp_path / "gates")


def test_a_copy_of_the_file_alone_is_none(
    mosquitto: Mosquitto, start_mso: StartMso, peer: Peer, tmp_path: Path
) -> None:
    """What was written last is beside it: the page warns of that."""
    mso = start_mso(mosquitto)
    begin(mso, peer, tmp_path / "gates")
    copy = tmp_path / "copy.sqlite"
    shutil.copy(mso.directory / ".mso" / "ledger.sqlite", copy)
    tables = sqlite3.connect(copy).execute("SELECT name FROM sqlite_master").fetchall()
    assert ("models",) not in tables


def test_a_backup_can_be_looked_at_without_a_service(
    mosquitto: Mosquitto, start_mso: StartMso, peer: Peer, tmp_path: Path
) -> None:
    """With `mso history`, in a directory of its own."""
    mso = start_mso(mosquitto)
    begin(mso, peer, tmp_path / "gates")
    follow("python3", mso.directory)
    assert "lives" in follow("look", mso.directory)


def test_a_database_that_was_dumped_while_the_service_ran_can_be_restored(
    mosquitto: Mosquitto, start_mso: StartMso, peer: Peer, tmp_path: Path, databases: Databases
) -> None:
    """All tables are dropped, and come back as they were."""
    if not shutil.which("pg_dump"):
        pytest.skip("no pg_dump here")
    url = databases.create()
    try:
        mso = start_mso(mosquitto, MSO_DATABASE_URL=url)
        begin(mso, peer, tmp_path / "gates")
        follow("pg_dump", mso.directory, MSO_DATABASE_URL=url)
        assert (mso.directory / "ledger.dump").stat().st_mode & 0o077 == 0
        mso.kill()
        databases.empty(url)
        follow("pg_restore", mso.directory, MSO_DATABASE_URL=url)
        mso.start()
        go_on(mso, peer, tmp_path / "gates")
        mso.stop()
    finally:
        databases.drop(url)
