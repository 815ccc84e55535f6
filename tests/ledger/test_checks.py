"""What the doctor says of ledgers, and that they are none the worse for it."""

import time
from pathlib import Path

import pytest

from mso import disk
from mso.checkup import Finding, Grade
from mso.ledger import checks
from mso.ledger.schema import metadata
from mso.ledger.sql import SqlLedger
from tests.ledger.things import RUN, engine_url, execute, locked, opened
from tests.mosquitto import free_port


async def examined(where: str, state_dir: Path) -> dict[str, Finding]:
    place = where if "://" in where else Path(where)
    return {finding.check: finding async for finding in checks.check(place, state_dir)}


async def test_one_that_a_service_writes_is_well_and_stays_its(place: str, tmp_path: Path) -> None:
    """Nothing is claimed, no row and no table is left behind, and the next commit is kept."""
    async with SqlLedger(place) as ledger:
        await ledger.claim()
        await ledger.commit(opened(RUN))
        found = await examined(place, tmp_path)
        assert {finding.grade for finding in found.values()} == {Grade.OK}, found
        await ledger.commit(opened(RUN))
        assert len(await ledger.runs()) == 1
    assert tables(place) == {*metadata.tables, "mso_revision"}


def tables(place: str) -> set[str]:
    from sqlalchemy import create_engine, inspect

    engine = create_engine(engine_url(place))
    try:
        return set(inspect(engine).get_table_names())
    finally:
        engine.dispose()


async def test_one_that_is_not_there_yet_is_no_trouble(tmp_path: Path) -> None:
    """The first start makes it; the doctor does not."""
    found = await examined(str(tmp_path / "state" / "ledger.sqlite"), tmp_path / "state")
    assert {finding.grade for finding in found.values()} == {Grade.OK}
    assert "the first start makes" in found[checks.LEDGER].what
    assert not (tmp_path / "state").exists()


async def test_an_older_form_is_no_trouble(place: str, tmp_path: Path) -> None:
    """The next start migrates it; that it can, the transaction shows."""
    async with SqlLedger(place):
        pass
    execute(place, "DROP TABLE mso_revision")
    for table in metadata.tables:
        execute(place, f"DROP TABLE {table}")
    found = await examined(place, tmp_path)
    assert "the service once, it migrates it" in found[checks.LEDGER].what
    assert {finding.grade for finding in found.values()} == {Grade.OK}


async def test_a_newer_form_is_wrong(place: str, tmp_path: Path) -> None:
    """This release cannot use it."""
    async with SqlLedger(place):
        pass
    execute(place, "UPDATE mso_revision SET version_num = '9999'")
    found = (await examined(place, tmp_path))[checks.LEDGER]
    assert (found.grade, "newer release" in found.what) == (Grade.WRONG, True)


async def test_a_damaged_file_is_told_and_left_alone(tmp_path: Path) -> None:
    """What is wrong with it, and that the next start sets it aside; the doctor does not."""
    path = tmp_path / "ledger.sqlite"
    async with SqlLedger(path) as ledger:
        await ledger.claim()
        await ledger.commit(opened(RUN))
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096 * 3)
    found = await examined(str(path), tmp_path)
    assert found[checks.WHOLE].grade is Grade.WRONG
    assert "sets it aside" in found[checks.WHOLE].advice
    assert [one.name for one in tmp_path.iterdir()] == ["ledger.sqlite"]


async def test_what_is_no_ledger_at_all(tmp_path: Path) -> None:
    """A file of somebody else."""
    path = tmp_path / "ledger.sqlite"
    path.write_text("this is no database, however long it may be" * 100)
    found = await examined(str(path), tmp_path)
    assert {check for check, one in found.items() if one.grade is Grade.WRONG} >= {checks.LEDGER, checks.WHOLE}
    assert path.read_text().startswith("this is no database")


async def test_one_that_somebody_keeps_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot be written to, and that is said in time."""
    monkeypatch.setattr(checks, "PATIENCE_SECONDS", 0.5)
    place = str(tmp_path / "ledger.sqlite")
    async with SqlLedger(place):
        pass
    with locked(place):
        began = time.monotonic()
        found = await examined(place, tmp_path)
        assert time.monotonic() - began < 10
    assert found[checks.LEDGER].grade is Grade.OK
    assert (found[checks.WRITABLE].grade, "locked" in found[checks.WRITABLE].what) == (Grade.WRONG, True)


async def test_a_state_directory_that_cannot_be_made(tmp_path: Path) -> None:
    """Something is in the way."""
    (tmp_path / "state").write_text("a file")
    found = (await examined(str(tmp_path / "state" / "here" / "l"), tmp_path / "state" / "here"))[checks.DISK]
    assert (found.grade, "MSO_STATE_DIR" in found.advice) == (Grade.WRONG, True)


@pytest.mark.parametrize(
    ("bytes_left", "grade"), ((2 << 30, Grade.OK), (1 << 29, Grade.WARNING), (1 << 20, Grade.WRONG))
)
async def test_a_disk_that_is_nearly_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bytes_left: int, grade: Grade
) -> None:
    """Before it is."""
    monkeypatch.setattr(disk, "room", lambda _: disk.Room(bytes_left, 1000))
    assert (await examined(str(tmp_path / "ledger"), tmp_path))[checks.DISK].grade is grade


async def test_a_server_that_is_away(tmp_path: Path) -> None:
    """Where to look; and no password."""
    found = await examined(f"postgresql://mso:not-to-be-seen@127.0.0.1:{free_port()}/mso", tmp_path)
    for check in (checks.LEDGER, checks.WRITABLE):
        assert (found[check].grade, "MSO_DATABASE_URL" in found[check].advice) == (Grade.WRONG, True)
    assert "not-to-be-seen" not in str(found)
