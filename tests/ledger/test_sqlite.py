"""A ledger in a file: who can read it, and what becomes of it when the file or its disk fails."""

import asyncio
import fcntl
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from mso.ledger import LedgerError, ModelAsked, Noted, Recovered, RunKept, UnusableLedgerError
from mso.ledger.sql import SqlLedger
from tests.ledger.committer import batch
from tests.ledger.things import RUN, a_model, a_record, execute

MANY = 400
"""Models enough for a file of many pages."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


async def fill(path: Path) -> None:
    async with SqlLedger(path) as ledger:
        await ledger.claim()
        await ledger.commit([RunKept(a_record()), *(ModelAsked(a_model(f"m-{number}")) for number in range(MANY))])
        await ledger.commit([Noted("a", "b")])


# -- who can read it ------------------------------------------------------------------------------------------------


async def test_nobody_else_can_read_the_file(tmp_path: Path) -> None:
    """The file, what SQLite keeps beside it, and the directory made for it are its owner's, whatever the umask."""
    path = tmp_path / "state" / "ledger" / "ledger.db"
    umask = os.umask(0)
    try:
        async with SqlLedger(path) as ledger:
            await ledger.claim()
            modes = {beside.name: beside.stat().st_mode & 0o777 for beside in path.parent.iterdir()}
    finally:
        os.umask(umask)
    assert modes == {"ledger.db": 0o600, "ledger.db-wal": 0o600, "ledger.db-shm": 0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700


async def test_a_directory_that_is_there_keeps_its_mode(path: Path) -> None:
    """It is the operator's, who may have a reason."""
    path.parent.chmod(0o755)
    async with SqlLedger(path):
        pass
    assert path.parent.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("write", (str, "sqlite:///{}".format, "sqlite:////{}".format, Path))
async def test_a_file_is_named_by_its_path_or_by_a_url(path: Path, write: Callable[[Path], str | Path]) -> None:
    """All of them name the same file."""
    async with SqlLedger(write(path)) as ledger:
        await ledger.claim()
    assert path.exists()


async def test_a_path_may_have_any_characters(tmp_path: Path) -> None:
    """None of them means anything to SQLite, SQLAlchemy or alembic."""
    path = tmp_path / "100% of ?mode=memory#x & 😀 file:"
    async with SqlLedger(path) as ledger:
        await ledger.claim()
    assert [beside.name for beside in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("where", ("mysql://u:hush@h/d", "sqlite://", "postgresql://u:p@h:hush/d", "://hush"))
def test_what_names_no_ledger_is_refused(where: str) -> None:
    """In one line that does not repeat it: there may be a password in it."""
    with pytest.raises(UnusableLedgerError) as refused:
        SqlLedger(where)
    assert "hush" not in str(refused.value)
    assert "\n" not in str(refused.value)


# -- damage ---------------------------------------------------------------------------------------------------------


def overwrite(path: Path, begin: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(begin)
        file.write(data)


def page_size(path: Path) -> int:
    return int.from_bytes(path.read_bytes()[16:18])


DAMAGES: dict[str, Callable[[Path], object]] = {
    "garbage": lambda path: path.write_bytes(os.urandom(10_000)),
    "text": lambda path: path.write_text("not a database\n"),
    "its first bytes only": lambda path: os.truncate(path, 60),
    "its first page only": lambda path: os.truncate(path, page_size(path)),
    "half of it": lambda path: os.truncate(path, path.stat().st_size // 2 // 4096 * 4096),
    "half a page less": lambda path: os.truncate(path, path.stat().st_size - 2000),
    "zeros in its header": lambda path: overwrite(path, 0, bytes(100)),
    "zeros in its schema": lambda path: overwrite(path, 100, bytes(4000)),
    "noise in its pages": lambda path: overwrite(path, 5 * 4096, os.urandom(20 * 4096)),
    "zeros in its pages": lambda path: overwrite(path, 5 * 4096, bytes(20 * 4096)),
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_file_is_set_aside(path: Path, damage: str) -> None:
    """It keeps all that is left of it, an ERROR says where, and MSO begins with an empty one."""
    await fill(path)
    DAMAGES[damage](path)
    left = path.read_bytes()
    with capture_logs() as log:
        async with SqlLedger(path) as ledger:
            assert await ledger.recover() == Recovered((), (), (), (), 0, {})
            await ledger.claim()
            await ledger.commit([Noted("a", "new one")])
    (event,) = log
    assert {name: event[name] for name in ("event", "log_level", "path")} == {
        "event": "ledger.set_aside",
        "log_level": "error",
        "path": str(path),
    }
    assert event["why"]
    kept = Path(event["kept"])
    assert kept.name.startswith("ledger.db.damaged-20")
    assert kept.read_bytes() == left
    assert kept.stat().st_mode & 0o777 == 0o600
    async with SqlLedger(path) as ledger:
        assert (await ledger.recover()).notes == {"a": "new one"}


async def test_an_index_that_does_not_fit_is_damage(path: Path) -> None:
    """A file that reads well and would fail a commit later is found out when it is opened."""
    await fill(path)
    with closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA writable_schema = ON")
        file.execute("UPDATE sqlite_master SET sql = replace(sql, '(simulation, run)', '(run, simulation)')")
        file.commit()
    with closing(sqlite3.connect(path)) as file:
        file.execute("INSERT INTO outbox SELECT 1, 'X', 's', 1, '', '', '', 0, '', 0, 0")
        file.execute("PRAGMA writable_schema = ON")
        file.execute("UPDATE sqlite_master SET sql = replace(sql, '(run, simulation)', '(simulation, run)')")
        file.commit()
    with capture_logs() as log:
        async with SqlLedger(path):
            pass
    assert [event["event"] for event in log] == ["ledger.set_aside"]


async def test_what_lies_beside_a_damaged_file_goes_with_it(path: Path) -> None:
    """Transactions that were not yet in it are no part of the new one, and are not lost either."""
    await fill(path)
    copy = path.with_name("copy.db")
    async with SqlLedger(path) as ledger:
        await ledger.claim()
        await ledger.commit([Noted("in the", "wal")])
        for suffix in ("", "-wal", "-shm"):  # as a kill leaves them
            shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    wal = Path(f"{copy}-wal").read_bytes()
    overwrite(copy, 5 * 4096, os.urandom(20 * 4096))
    with capture_logs() as log:
        async with SqlLedger(copy) as ledger:
            assert (await ledger.recover()).notes == {}
    (event,) = log
    assert Path(f"{event['kept']}-wal").read_bytes() == wal


async def test_of_those_that_find_it_damaged_one_sets_it_aside(path: Path) -> None:
    """The others find the new one, which is whole, and leave it alone."""
    path.write_bytes(b"nonsense" * 1000)
    ledgers = [SqlLedger(path) for _ in range(4)]
    with capture_logs() as log:
        await asyncio.gather(*(ledger.__aenter__() for ledger in ledgers))
    await ledgers[0].claim()
    await ledgers[0].commit([Noted("a", "b")])
    for ledger in ledgers:
        assert (await ledger.recover()).notes == {"a": "b"}
        await ledger.__aexit__()
    assert [event["event"] for event in log] == ["ledger.set_aside"]


async def test_a_file_is_opened_by_one_at_a_time(path: Path) -> None:
    """Whoever looks it through is alone with it; another one waits, and not for ever."""
    opening = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(opening, fcntl.LOCK_EX)
    with pytest.raises(LedgerError, match="another process is opening it"):
        async with SqlLedger(path, patience_seconds=0.1):
            pass
    ledger = SqlLedger(path)
    entering = asyncio.create_task(ledger.__aenter__())
    for _ in range(1000):
        await asyncio.sleep(0)
    assert not path.exists()
    os.close(opening)
    await entering
    await ledger.__aexit__()


async def test_damage_that_a_recovery_finds_is_set_aside(path: Path) -> None:
    """The new process goes on with an empty ledger, and is still the one that claimed it."""
    await fill(path)
    with capture_logs() as log:
        async with SqlLedger(path) as ledger:
            await ledger.claim()
            damage_behind_its_back(path)
            assert await ledger.recover() == Recovered((), (), (), (), 0, {})
            await ledger.commit([Noted("a", "new one")])
            assert (await ledger.recover()).notes == {"a": "new one"}
    assert [event["event"] for event in log] == ["ledger.set_aside"]


async def test_damage_that_a_commit_finds_ends_the_process_and_the_next_sets_it_aside(path: Path) -> None:
    """It is no trouble that passes; and it is found again by the next start, so that it does not end them all."""
    await fill(path)
    async with SqlLedger(path) as ledger:
        await ledger.claim()
        damage_behind_its_back(path)
        with pytest.raises(UnusableLedgerError, match="damaged"):
            await ledger.commit([ModelAsked(a_model(f"m-{number}", message="new")) for number in range(MANY)])
        with pytest.raises(UnusableLedgerError, match="damaged"):
            await ledger.models(RUN)
    with capture_logs() as log:
        async with SqlLedger(path) as ledger:
            assert (await ledger.recover()).runs == ()
    assert [event["event"] for event in log] == ["ledger.set_aside"]


async def test_a_reader_leaves_a_damaged_file_where_it_is(path: Path) -> None:
    """Somebody may be working with it; to set it aside is the service's business."""
    path.write_bytes(b"nonsense" * 1000)
    with capture_logs() as log:
        with pytest.raises(UnusableLedgerError, match="damaged"):
            async with SqlLedger(path, read_only=True):
                pass
    assert log == []
    assert path.read_bytes() == b"nonsense" * 1000


async def test_an_empty_file_is_an_empty_ledger(path: Path) -> None:
    """A process that was killed just after it made the file left nothing that is worth to be set aside."""
    path.touch()
    with capture_logs() as log:
        async with SqlLedger(path) as ledger:
            await ledger.claim()
    assert log == []


def damage_behind_its_back(path: Path) -> None:
    """What it reads from now on is nonsense, but for the first pages, with the epoch and the schema."""
    with closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        root = file.execute("SELECT rootpage FROM sqlite_master WHERE name = 'models'").fetchone()[0]
    overwrite(path, (root - 1) * 4096, os.urandom(4096))
    # Whoever has the page in memory would not look at the file: a commit of somebody else makes it look.
    execute(str(path), "INSERT INTO notes VALUES ('by', 'another')")


# -- disks ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if sys.platform != "linux" or os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root may mount a small disk, and not everywhere")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill_up(disk: Path) -> Path:
    """What is to be deleted to have room again."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return ballast


async def commit_until_refused(ledger: SqlLedger, first: int) -> int:
    """The number of the batch that found no room."""
    for number in range(first, 100):
        try:
            await ledger.commit(batch(number))
        except LedgerError:
            return number
    raise AssertionError("there is room for everything")


async def test_a_full_disk_is_an_error_that_passes(small_disk: Path) -> None:
    """What was committed stays, nothing of the batch that found no room is kept, and it goes through when there is."""
    async with SqlLedger(small_disk / "ledger.db") as ledger:
        await ledger.claim()
        await ledger.commit(batch(1))
        ballast = fill_up(small_disk)
        refused = await commit_until_refused(ledger, 2)
        with pytest.raises(LedgerError, match="full"):
            await ledger.commit(batch(refused))
        assert len((await ledger.recover()).runs) == refused - 1
        ballast.unlink()
        await ledger.commit(batch(refused))
        assert (await ledger.recover()).notes["batch"] == str(refused)
    async with SqlLedger(small_disk / "ledger.db") as ledger:
        assert len((await ledger.recover()).runs) == refused


async def test_a_disk_without_room_for_a_ledger_is_an_error_that_passes(small_disk: Path) -> None:
    """It cannot be opened now, and can when there is room."""
    ballast = fill_up(small_disk)
    ledger = SqlLedger(small_disk / "ledger.db")
    with pytest.raises(LedgerError):
        async with ledger:
            pass
    ballast.unlink()
    async with ledger:
        await ledger.claim()


@pytest.mark.process
async def test_a_file_that_may_not_grow_is_an_error_that_passes(path: Path) -> None:
    """The same where nobody may mount a disk: the process is forbidden to write more, and then allowed to."""
    committer = subprocess.run(
        [sys.executable, "-m", "tests.ledger.committer", path, str(400_000)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    *kept, refused, again = committer.stdout.splitlines()
    assert kept == [str(number) for number in range(1, int(again))]
    assert refused.startswith(f"refused {again}: {path}: ")
    async with SqlLedger(path) as ledger:
        assert len((await ledger.recover()).runs) == int(again)


async def test_a_directory_that_cannot_be_made_is_an_error_that_passes(tmp_path: Path) -> None:
    """Somebody may put it right: a volume that is not mounted yet, for instance."""
    in_the_way = tmp_path / "state"
    in_the_way.write_text("a file")
    ledger = SqlLedger(in_the_way / "ledger.db")
    with pytest.raises(LedgerError, match=str(in_the_way)):
        async with ledger:
            pass
    in_the_way.unlink()
    async with ledger:
        await ledger.claim()


@pytest.mark.parametrize("become_of_it", (Path.unlink, lambda path: path.rename(path.with_name("elsewhere"))))
async def test_a_file_that_is_moved_while_it_is_in_use_is_found_out(
    path: Path, become_of_it: Callable[[Path], object]
) -> None:
    """SQLite would go on writing where nobody will ever read: a commit must not return as if it were kept."""
    async with SqlLedger(path) as ledger:
        await ledger.claim()
        become_of_it(path)
        for _ in range(2):
            with pytest.raises(UnusableLedgerError, match="moved"):
                await ledger.commit([Noted("a", "b")])
        with pytest.raises(UnusableLedgerError, match="moved"):
            await ledger.claim()


async def test_a_text_that_cannot_be_read_is_refused_and_not_set_aside(path: Path) -> None:
    """A model in a format of a newer release is no damage: one line says so, and the file stays."""
    await fill(path)
    execute(str(path), """UPDATE models SET recollection = replace(recollection, '"format": 1', '"format": 2')""")
    async with SqlLedger(path) as ledger:
        await ledger.claim()
        with pytest.raises(UnusableLedgerError, match="cannot read"):
            await ledger.recover()
        with pytest.raises(UnusableLedgerError, match="cannot read"):
            await ledger.models(RUN)
        await ledger.commit([Noted("still", "here")])


async def test_a_commit_is_on_the_disk_when_it_returns(path: Path) -> None:
    """A loss of power cannot be played here; that SQLite is told to reckon with it can be seen."""
    seen = {}
    async with SqlLedger(path) as ledger:
        engines = ledger._engines  # no other way to see what its one connection was told
        with engines.reader.connect() as connection:
            for pragma in ("journal_mode", "synchronous", "fullfsync"):
                seen[pragma] = connection.exec_driver_sql(f"PRAGMA {pragma}").scalar_one()
    assert seen == {"journal_mode": "wal", "synchronous": 2, "fullfsync": 1}
