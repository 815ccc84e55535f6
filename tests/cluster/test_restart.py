"""MSO is killed and comes back: pods run on, none is started twice, and each end is told once, as it was."""

from tests.cluster.gates import Gates
from tests.cluster.place import Place
from tests.peer import Peer, configuration, order
from tests.service import MsoProcess
from tests.told import reasons


def deploy_gated(peer: Peer, gates: Gates, *models: str) -> None:
    """Models that all run and have announced themselves; their orchestrator has heard ModelsReady."""
    peer.deploy("sim", order(*(configuration(model, "gated") for model in models), version=2, keep_logs_hours=1))
    gates.wait_for(*models)
    peer.ready("sim", *models)
    peer.wait_for("sim", "ModelsReady")


def announce_again(peer: Peer, mso: MsoProcess, *models: str) -> None:
    """Returns when MSO has taken it in."""
    peer.ready("sim", *models)
    peer.ready("unknown", "model")  # messages are taken in order, and this one leaves a word in the log
    mso.wait_for_event("message.refused")


def test_pods_live_on_through_kills_and_what_ended_meanwhile_is_told(
    place: Place, gates: Gates, mso: MsoProcess, peer: Peer
) -> None:
    """The same pods, the true exit codes, and no second ModelsReady though all announce themselves again."""
    deploy_gated(peer, gates, "a", "b", "c")
    before = place.uids()
    mso.kill()
    mso.start()
    assert mso.wait_for_event("simulation.restored")[0]["living"] == 3
    announce_again(peer, mso, "a", "b", "c")
    mso.kill()
    gates.open(a=0, b=7)
    place.wait_for_phase("a", "Succeeded")
    place.wait_for_phase("b", "Failed")
    mso.start()
    gates.open(c=1)
    heard = peer.wait_for_end("sim")
    assert reasons(heard) == {"a": ("Completed", 0), "b": ("Error", 7), "c": ("Error", 1)}
    assert [message.name for message in heard].count("ModelsReady") == 1
    assert place.uids() == before
    assert gates.started == {"a": 1, "b": 1, "c": 1}


def marked(place: Place, mark: str) -> str:
    """A model whose pod remembers this of its run."""
    return next(model for model, pod in place.pods().items() if f"mso/mark-{mark}" in pod["metadata"]["annotations"])


def test_models_ready_is_told_once_although_the_pod_that_remembers_it_is_deleted(
    place: Place, gates: Gates, mso: MsoProcess, peer: Peer
) -> None:
    """A second ModelsReady does harm: whichever pod goes, the run is known to have been ready."""
    deploy_gated(peer, gates, "a", "b")
    deleted = marked(place, "ready")
    (left,) = {"a", "b"} - {deleted}
    place.delete(deleted, force=True)
    peer.wait_for("sim", "ModelHasTerminated")
    mso.kill()
    mso.start()
    mso.wait_for_event("simulation.restored")
    announce_again(peer, mso, left)
    gates.open(**{left: 0})
    peer.wait_for_end("sim")
    assert peer.names("sim").count("ModelsReady") == 1


def test_what_was_deleted_while_it_was_away_is_told_when_it_is_back(
    place: Place, gates: Gates, mso: MsoProcess, peer: Peer
) -> None:
    """The ledger remembers what had run: gone without an end is FAILED PodDeleted, told once."""
    deploy_gated(peer, gates, "a", "b")
    assert mso.stop() == 0
    place.delete("a", force=True)
    gates.open(b=0)
    place.wait_for_phase("b", "Succeeded")
    mso.start()
    assert reasons(peer.wait_for_end("sim")) == {"a": ("PodDeleted", -1), "b": ("Completed", 0)}
    assert gates.started == {"a": 1, "b": 1}


def test_without_its_ledger_the_pods_are_adopted_as_their_annotations_say(
    place: Place, gates: Gates, mso: MsoProcess, peer: Peer
) -> None:
    """A new volume: the same pods go on, ModelsReady does not go out again, and each end is told."""
    deploy_gated(peer, gates, "a", "b")
    before = place.uids()
    assert mso.stop() == 0
    for file in (mso.directory / "state").glob("ledger.sqlite*"):
        file.unlink()
    mso.start()
    assert mso.wait_for_event("simulation.adopted")[0]["living"] == 2
    announce_again(peer, mso, "a", "b")
    gates.open(a=0, b=5)
    assert reasons(peer.wait_for_end("sim")) == {"a": ("Completed", 0), "b": ("Error", 5)}
    assert place.uids() == before
    assert peer.names("sim").count("ModelsReady") == 1
