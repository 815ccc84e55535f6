"""Two MSOs and one ledger: one is active, the other takes over, and nothing is done or told twice."""

import time
from collections.abc import Iterator

import pytest
from sqlalchemy import make_url

from tests import postgres
from tests.cluster.conftest import StartMso
from tests.cluster.gates import Gates
from tests.cluster.place import Place
from tests.cluster.test_restart import deploy_gated
from tests.peer import Peer
from tests.postgres import INSTALL_HINT, Postgres
from tests.service import MsoProcess, wait_until
from tests.tcp_proxy import TcpProxy
from tests.told import reasons

TAKEOVER_SECONDS = 15.0
"""docs/kubernetes.md, *One is active*; it is promised of a machine that has time for it."""


@pytest.fixture(scope="module")
def database_server() -> Iterator[Postgres]:
    if postgres.find_programs() is None:
        pytest.skip(INSTALL_HINT)
    with Postgres() as server:
        yield server


@pytest.fixture
def pair(place: Place, start_mso: StartMso, database_server: Postgres) -> tuple[MsoProcess, MsoProcess]:
    """The active one, and its standby."""
    url = database_server.databases.create()
    active = start_mso(place, MSO_DATABASE_URL=url)
    standby = start_mso(place, wait=False, MSO_DATABASE_URL=url)
    standby.wait_for_event("service.standby")
    return active, standby


def test_a_standby_is_alive_and_not_ready_and_says_who_is_active(pair: tuple[MsoProcess, MsoProcess]) -> None:
    """Its supervisor leaves it alone, and nobody is sent to it."""
    active, standby = pair
    assert standby.probe("/livez")[0] == 200
    status, reason = standby.probe("/readyz")
    assert status == 503
    assert f"-{active.pid}-" in reason


def test_one_that_begins_is_not_ready_and_says_so(place: Place, start_mso: StartMso, database_server: Postgres) -> None:
    """Active, with a database that is silent: nothing can be asked yet how it does, and it answers all the same."""
    url = make_url(database_server.databases.create())
    with TcpProxy("127.0.0.1", database_server.port) as proxy:
        proxy.stop_answering()
        there = url.set(port=proxy.port).render_as_string(hide_password=False)
        mso = start_mso(place, wait=False, MSO_DATABASE_URL=there)
        mso.wait_for_event("http.listening")
        wait_until(lambda: "being opened" in mso.probe("/readyz")[1])
        assert mso.probe("/readyz")[0] == 503
        proxy.answer()
        mso.wait_for_probe("/readyz", 200)


def test_a_standby_takes_over_from_one_that_was_killed(
    place: Place, gates: Gates, pair: tuple[MsoProcess, MsoProcess], peer: Peer
) -> None:
    """kill -9 of the active one with its models running: within 15 s the other goes on with the same pods."""
    active, standby = pair
    deploy_gated(peer, gates, "a", "b")
    before = place.uids()
    active.kill()
    killed = time.monotonic()
    standby.wait_for_event("simulation.restored")
    took = time.monotonic() - killed
    standby.wait_for_connection(1)
    gates.open(a=0, b=3)
    assert reasons(peer.wait_for_end("sim")) == {"a": ("Completed", 0), "b": ("Error", 3)}
    assert place.uids() == before
    assert peer.names("sim").count("ModelsReady") == 1
    assert took < TAKEOVER_SECONDS


def test_one_that_was_stopped_and_wakes_up_deposed_does_no_harm_and_ends(
    gates: Gates, pair: tuple[MsoProcess, MsoProcess], peer: Peer
) -> None:
    """SIGSTOP until the other has taken over, then SIGCONT: it ends with status 1, and each end is told once."""
    active, standby = pair
    deploy_gated(peer, gates, "a", "b")
    active.pause()
    standby.wait_for_event("simulation.restored")
    standby.wait_for_connection(1)
    gates.open(a=4)
    peer.wait_for("sim", "ModelHasTerminated")
    active.resume()
    assert active.process
    assert active.process.wait(60) == 1
    assert active.events("service.ended")
    gates.open(b=0)
    heard = peer.wait_for_end("sim")
    assert [message.name for message in heard] == [
        "ModelsReady",
        "ModelHasTerminated",
        "ModelHasTerminated",
        "AllModelsHaveTerminated",
    ]
    assert reasons(heard) == {"a": ("Error", 4), "b": ("Completed", 0)}


def test_a_standby_has_it_at_once_when_the_active_one_ends_in_good_order(
    gates: Gates, pair: tuple[MsoProcess, MsoProcess], peer: Peer
) -> None:
    """An upgrade: SIGTERM releases the lease."""
    active, standby = pair
    deploy_gated(peer, gates, "a")
    assert active.stop() == 0
    stopped = time.monotonic()
    standby.wait_for_connection(1)
    took = time.monotonic() - stopped
    gates.open(a=0)
    assert reasons(peer.wait_for_end("sim")) == {"a": ("Completed", 0)}
    assert took < TAKEOVER_SECONDS / 2
