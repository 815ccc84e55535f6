"""Of two MSOs in one namespace one is active, whatever is killed, stopped or cut off (fault R3)."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import Any

import pytest

from mso.backplane.kubernetes_lease import Timing
from tests.cluster.place import Place
from tests.contract.contender import Contender
from tests.kubernetes_cluster import Cluster
from tests.service import wait_until
from tests.tcp_proxy import TcpProxy

TAKEOVER = 15.0
"""Seconds within which another has it when its holder is gone."""
OUTAGE = Timing().duration * 1.5
"""Seconds; longer than a lease lasts that is not renewed."""

pytestmark = [pytest.mark.process, pytest.mark.slow]

Contend = Callable[..., Contender]


@pytest.fixture
def contend(cluster: Cluster, place: Place) -> Iterator[Contend]:
    """Starts a process that wants the lease of the place, by the usual way to the API or by another."""
    with ExitStack() as running:

        def start(kubeconfig: Path = cluster.kubeconfig) -> Contender:
            return running.enter_context(Contender("kubernetes", place.namespace, str(kubeconfig)))

        yield start


def identity(contender: Contender) -> str:
    name: str = contender.wait_for("opened")["identity"]
    return name


def in_the_lease(place: Place) -> dict[str, Any]:
    """What the object says."""
    lease: dict[str, Any] = json.loads(place.kubectl("get", "lease", "mso", "-o", "json"))["spec"]
    return lease


def two(contend: Contend, *first_by: Path) -> tuple[Contender, Contender]:
    """One that has it, and one that waits."""
    holder = contend(*first_by)
    holder.wait_for("acquired")
    other = contend()
    assert other.wait_for("waiting")["holder"] == identity(holder)
    return holder, other


def test_a_holder_that_is_killed_is_followed_within_15_seconds(place: Place, contend: Contend) -> None:
    """By one of those who wait, and by no other; whoever looks with kubectl sees who it is."""
    first, second = two(contend)
    third = contend()
    third.wait_for("waiting")
    first.send(SIGKILL)
    killed = time.monotonic()
    wait_until(lambda: bool(second.said("acquired") or third.said("acquired")))
    assert time.monotonic() - killed < TAKEOVER
    winner, loser = (second, third) if second.said("acquired") else (third, second)
    wait_until(lambda: len(loser.said("waiting")) == 2)
    assert loser.said("waiting")[-1]["holder"] == identity(winner) == in_the_lease(place)["holderIdentity"]
    assert in_the_lease(place)["leaseTransitions"] == 1
    assert loser.said("acquired") == []


def test_a_holder_that_was_stopped_yields_to_the_one_that_took_over(place: Place, contend: Contend) -> None:
    """SIGSTOP, and SIGCONT when another has it: it sees that before it does anything to the lease."""
    first, second = two(contend)
    first.send(SIGSTOP)
    second.wait_for("acquired", TAKEOVER)
    first.send(SIGCONT)
    assert first.wait_for("lost")["holder"] == identity(second) == in_the_lease(place)["holderIdentity"]
    assert first.process.wait(5) == 0
    assert second.said("lost") == []


def test_a_holder_that_was_cut_off_yields_to_the_one_that_took_over(
    place: Place, contend: Contend, proxy: TcpProxy, by_proxy: Path
) -> None:
    """What it asked for meanwhile arrives late, and is refused."""
    first, second = two(contend, by_proxy)
    proxy.stop_answering()
    second.wait_for("acquired", TAKEOVER)
    assert first.said("lost") == [], "it sees nobody, so it goes on"
    proxy.answer()
    assert first.wait_for("lost")["holder"] == identity(second) == in_the_lease(place)["holderIdentity"]
    assert second.said("lost") == []


@pytest.mark.parametrize(("end", "mend"), (("STOP", "CONT"), ("KILL", None)), ids=("hangs", "is dead"))
def test_an_outage_of_the_api_server_changes_nothing(
    cluster: Cluster, place: Place, contend: Contend, end: str, mend: str | None
) -> None:
    """The holder goes on, longer than its lease lasts, and renews it; who waits waits on."""
    first, second = two(contend)
    before = in_the_lease(place)
    cluster.signal("apiserver", end)
    began = time.monotonic()
    try:
        for contender in (first, second):
            contender.wait_for("lease.trouble")
        time.sleep(began + OUTAGE - time.monotonic())  # only time makes a lease run out
    finally:
        if mend:
            cluster.signal("apiserver", mend)
        else:
            cluster.start("apiserver")
        cluster.wait_until_it_answers()
    for contender in (first, second):
        contender.wait_for("lease.well_again")
    wait_until(lambda: in_the_lease(place)["renewTime"] > before["renewTime"])
    after = in_the_lease(place)
    for field in ("holderIdentity", "acquireTime", "leaseTransitions"):
        assert after[field] == before[field]
    assert (first.said("lost"), second.said("acquired")) == ([], [])
