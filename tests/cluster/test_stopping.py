"""Simulations are stopped, logs are kept as long as was asked for, and what is left is cleaned up by hand."""

from datetime import UTC, datetime, timedelta

from tests.cluster.gates import Gates
from tests.cluster.place import Place, Pod
from tests.kubernetes_cluster import Cluster
from tests.peer import Peer, configuration, order
from tests.service import MsoProcess, wait_until
from tests.told import reasons


def test_simulation_done_leaves_no_pod_living_and_the_logs_where_they_are(
    place: Place, mso: MsoProcess, peer: Peer
) -> None:
    """One runs, one waits for a node, one has ended: each is told once, and what had ended stays as it ended."""
    peer.deploy(
        "sim",
        order(
            configuration("runs", "waits"),
            configuration("waits", "paper"),
            configuration("ended", "ends", CODE="3"),
            version=2,
            keep_logs_hours=1,
        ),
    )
    mso.wait_for_event("model.deployed", 3)
    place.wait_for_phase("runs", "Running")
    peer.wait_for("sim", "ModelHasTerminated")
    peer.done("sim")
    ends = reasons(peer.wait_for_end("sim"))
    assert place.living() == set()
    assert ends["ended"] == ("Error", 3)
    for model in ("runs", "waits"):
        reason, code = ends[model]
        assert reason == "Stopped"
        assert code != 0
    assert place.kubectl("logs", place.name("ended")) == "going to end with 3\n"


def finished_at(pod: Pod) -> datetime:
    return datetime.fromisoformat(pod["status"]["containerStatuses"][0]["state"]["terminated"]["finishedAt"])


def test_logs_are_kept_as_long_as_was_asked_for_also_over_a_restart(
    cluster: Cluster, place: Place, mso: MsoProcess, peer: Peer
) -> None:
    """Then the pods of the run go in one call; those of another run stay."""
    hours = 0.002
    peer.deploy("kept", order(configuration("k", "ends"), version=2, keep_logs_hours=1))
    peer.wait_for_end("kept")
    peer.deploy("brief", order(configuration("a", "ends"), configuration("b", "ends"), keep_logs_hours=hours))
    peer.wait_for_end("brief")
    mso.kill()
    pods = place.pods()
    assert pods.keys() == {"k", "a", "b"}
    ended_at = max(finished_at(pods[model]) for model in ("a", "b"))
    mso.start()
    wait_until(lambda: place.pods().keys() == {"k"})
    assert datetime.now(UTC) - ended_at > timedelta(hours=hours)
    mso.wait_for_event("model.removed", 2, simulation="brief")
    if cluster.command:  # else there is no audit log
        asked = cluster.asked(place.namespace, "mso")
        assert [verb for verb in asked if verb.startswith("delete")] == ["deletecollection"]


def test_everything_of_a_simulation_is_cleaned_up_without_a_service(
    place: Place, gates: Gates, mso: MsoProcess, peer: Peer
) -> None:
    """`mso cleanup` says what it would do, then does it, to what lives and what is kept, and to nobody else."""
    peer.deploy("sim", order(configuration("a", "gated"), configuration("b", "ends"), version=2, keep_logs_hours=1))
    peer.deploy("other", order(configuration("c", "gated"), version=2))
    gates.wait_for("a", "c")
    peer.wait_for("sim", "ModelHasTerminated")
    mso.kill()
    before = place.uids()
    said = mso.command("cleanup", "--simulation", "sim", "--dry-run")
    assert (said.returncode, said.stdout) == (0, "would remove run 1 of sim: 2 models\n")
    assert place.uids() == before
    said = mso.command("cleanup", "--simulation", "sim")
    assert (said.returncode, said.stdout) == (0, "removing run 1 of sim: 2 models\n")
    assert place.uids() == {"c": before["c"]}
    assert place.living() == {"c"}
