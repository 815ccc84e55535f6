"""The way to the Kubernetes API breaks in every way it can: MSO goes on, says so, and loses nothing."""

import time
from pathlib import Path

from tests.cluster.conftest import StartMso
from tests.cluster.gates import Gates
from tests.cluster.place import Place
from tests.kubernetes_cluster import Cluster
from tests.peer import Peer, configuration, order
from tests.service import MsoProcess
from tests.tcp_proxy import TcpProxy
from tests.told import reasons

SOON = 20.0
"""Seconds within which an end is told that the API shows. Two to three are usual; what is slow here is the machine."""
CALL_SECONDS = 20.0
"""How long MSO waits for the answer to a call."""


def test_what_ends_while_the_api_server_is_dead_is_told_when_it_is_back(
    cluster: Cluster, place: Place, gates: Gates, mso: MsoProcess, peer: Peer
) -> None:
    """kill -9: not ready, yet alive, and never gone; what ended meanwhile is told within seconds."""
    peer.deploy("sim", order(configuration("a", "gated"), configuration("b", "gated"), version=2))
    gates.wait_for("a", "b")
    pid = mso.pid
    cluster.signal("apiserver", "KILL")
    try:
        mso.wait_for_probe("/readyz", 503)
        assert mso.probe("/livez")[0] == 200
        gates.open(a=3)
    finally:
        cluster.start("apiserver")
        cluster.wait_until_it_answers()
    place.wait_for_phase("a", "Failed")  # the kubelet tells it when it pleases
    peer.wait_for("sim", "ModelHasTerminated", seconds=SOON)
    mso.wait_for_probe("/readyz", 200)
    gates.open(b=0)
    assert reasons(peer.wait_for_end("sim")) == {"a": ("Error", 3), "b": ("Completed", 0)}
    assert mso.pid == pid


def test_an_api_server_that_hangs_makes_it_unready_and_not_dead(
    cluster: Cluster, gates: Gates, mso: MsoProcess, peer: Peer
) -> None:
    """SIGSTOP: /readyz says 503 and why, /livez 200; all is well again afterwards."""
    peer.deploy("sim", order(configuration("a", "gated"), version=2))
    gates.wait_for("a")
    mso.wait_for_probe("/readyz", 200)
    cluster.signal("apiserver", "STOP")
    try:
        assert "Kubernetes API" in mso.wait_for_probe("/readyz", 503)
        assert mso.probe("/livez")[0] == 200
    finally:
        cluster.signal("apiserver", "CONT")
    mso.wait_for_probe("/readyz", 200)
    gates.open(a=0)
    assert reasons(peer.wait_for_end("sim")) == {"a": ("Completed", 0)}


def test_a_watch_that_is_silent_costs_nothing_but_time(
    place: Place, gates: Gates, proxy: TcpProxy, by_proxy: Path, start_mso: StartMso, peer: Peer
) -> None:
    """All connections go silent and stay open: an end is told by the next listing that gets through."""
    resync = 2.0
    mso = start_mso(place, KUBECONFIG=str(by_proxy), MSO_RESYNC_SECONDS=str(resync))
    peer.deploy("sim", order(configuration("a", "gated"), version=2))
    gates.wait_for("a")
    mso.wait_for_event("model.deployed")
    proxy.freeze()
    gates.open(a=3)
    place.wait_for_phase("a", "Failed")
    # A listing that began on a silent connection has to be given up first.
    heard = peer.wait_for_end("sim", seconds=resync + CALL_SECONDS + SOON)
    assert reasons(heard) == {"a": ("Error", 3)}


def test_a_watch_that_is_cut_again_and_again_loses_nothing(
    place: Place, gates: Gates, proxy: TcpProxy, by_proxy: Path, start_mso: StartMso, peer: Peer
) -> None:
    """Also without listings, and also of a pod that is gone meanwhile: the watch goes on from where it was."""
    start_mso(place, KUBECONFIG=str(by_proxy), MSO_RESYNC_SECONDS="3600")
    codes = {"a": 0, "b": 1, "c": 2, "d": 3}
    peer.deploy("sim", order(*(configuration(model, "gated") for model in [*codes, "deleted"]), version=2))
    proxy.cut()
    gates.wait_for(*codes, "deleted")
    for number, (model, code) in enumerate(codes.items(), start=1):
        proxy.cut()
        gates.open(**{model: code})
        proxy.cut()
        peer.wait_for("sim", "ModelHasTerminated", number)
    proxy.stop_answering()
    proxy.cut()
    place.delete("deleted", force=True)
    proxy.answer()
    ends = reasons(peer.wait_for_end("sim"))
    assert ends.pop("deleted")[0] == "PodDeleted"
    assert ends == {model: ("Error" if code else "Completed", code) for model, code in codes.items()}
    assert set(gates.started.values()) == {1}


def test_creates_that_are_not_answered_are_made_once(
    place: Place, gates: Gates, proxy: TcpProxy, by_proxy: Path, start_mso: StartMso, peer: Peer
) -> None:
    """Calls that hang are given up and tried again; those that arrive late after all make no second pod."""
    mso = start_mso(place, KUBECONFIG=str(by_proxy))
    proxy.stop_answering()
    models = ("a", "b", "c")
    began = time.monotonic()
    peer.deploy("sim", order(*(configuration(model, "gated") for model in models), version=2))
    mso.wait_for_event("model.deploy_waits")
    assert time.monotonic() - began < CALL_SECONDS + SOON
    proxy.answer()
    gates.wait_for(*models)
    gates.open(**dict.fromkeys(models, 0))
    assert reasons(peer.wait_for_end("sim")) == dict.fromkeys(models, ("Completed", 0))
    assert gates.started == dict.fromkeys(models, 1)
