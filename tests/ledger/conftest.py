"""Where the ledgers of these tests are: every test that asks for `place` runs over every database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres import INSTALL_HINT, Databases, Postgres, available, external, find_programs


def _needs(there: bool) -> list[pytest.MarkDecorator]:
    # Not skipif: of what is skipped without a condition a whole file is one line in the summary.
    return [pytest.mark.process, *([] if there else [pytest.mark.skip(reason=INSTALL_HINT)])]


ON_POSTGRESQL = _needs(available())
ON_OUR_POSTGRESQL = _needs(find_programs() is not None)
"""For what nobody does to a server that was lent to him."""


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server of our own. Whoever kills it starts it again."""
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def databases(request: pytest.FixtureRequest) -> Databases:
    if external():
        return Databases(external())
    server: Postgres = request.getfixturevalue("postgres")
    return server.databases


@pytest.fixture(scope="session")
def used_database(databases: Databases) -> Iterator[str]:
    url = databases.create()
    yield url
    databases.drop(url)


@pytest.fixture
def database(databases: Databases, used_database: str) -> str:
    """The URL of an empty database."""
    databases.empty(used_database)
    return used_database


@pytest.fixture
def our_database(postgres: Postgres) -> str:
    """The URL of a new database on a server that may be killed."""
    return postgres.databases.create()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=ON_POSTGRESQL)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a ledger may be made: a path, or a URL."""
    if request.param == "sqlite":
        return str(tmp_path / "ledger.db")
    url: str = request.getfixturevalue("database")
    return url
