"""Orders that the cluster cannot take as they are: refused, full, repeated, with names that no pod may have."""

from mso.backplane.pods import pod_name
from mso.model import Attempt, ModelId, ModelKey, SimulationId
from tests.cluster.conftest import StartMso
from tests.cluster.gates import Gates
from tests.cluster.place import Place
from tests.kubernetes_cluster import Cluster
from tests.peer import Peer, configuration, order
from tests.service import MsoProcess
from tests.told import reasons, told

NASTY = (
    *("A", "a", "a-b", "a.b", "a b", "_", "-x", "x-", "0"),
    *("\N{GRINNING FACE}", "\N{LATIN SMALL LETTER U WITH DIAERESIS}", "m" * 256, "m" * 255 + "M"),
)


def test_a_model_that_the_api_refuses_is_told_in_its_words_and_the_others_go_on(
    place: Place, gates: Gates, mso: MsoProcess, peer: Peer
) -> None:
    """DeployFailed for it alone, and no ModelsReady for what is left."""
    invalid = configuration("b", "gated", **{"NO=NAME": "x"})
    peer.deploy("sim", order(configuration("a", "gated"), invalid, configuration("c", "gated"), version=2))
    gates.wait_for("a", "c")
    peer.ready("sim", "a", "c")
    mso.wait_for_event("model.state_changed", 2, now="running")
    gates.open(a=0, c=0)
    heard = peer.wait_for_end("sim")
    assert reasons(heard) == {"a": ("Completed", 0), "b": ("DeployFailed", -1), "c": ("Completed", 0)}
    assert "NO=NAME" in told(heard)["b"].message
    assert heard[0].name != "ModelsReady"
    _, metrics = mso.probe("/metrics")
    assert 'mso_kubernetes_requests_total{method="POST",status="201"}' in metrics
    assert 'mso_kubernetes_requests_total{method="POST",status="422"} 1.0' in metrics


def test_a_full_quota_is_waited_for_and_not_hammered(
    cluster: Cluster, place: Place, gates: Gates, mso: MsoProcess, peer: Peer
) -> None:
    """Two of four find room at first; the others do when those have ended, and the API is asked seldom."""
    spec = {"hard": {"pods": "2"}}
    quota = {"metadata": {"name": "two", "namespace": place.namespace}, "spec": spec}
    cluster.create({"apiVersion": "v1", "kind": "ResourceQuota", **quota})
    place.kubectl("wait", "--for=jsonpath={.status.hard.pods}=2", "resourcequota/two", "--timeout=60s")
    models = {"a", "b", "c", "d"}
    peer.deploy("sim", order(*(configuration(model, "gated") for model in sorted(models)), version=2))
    first = {event["model"] for event in mso.wait_for_event("model.deployed", 2)}
    for model in models - first:
        assert "exceeded quota" in mso.wait_for_event("model.deploy_waits", model=model)[0]["why"]
    gates.wait_for(*first)
    gates.open(**dict.fromkeys(first, 0))
    second = {event["model"] for event in mso.wait_for_event("model.deployed", 4)} - first
    assert second == models - first
    assert gates.started.keys() >= first
    gates.open(**dict.fromkeys(second, 0))
    assert reasons(peer.wait_for_end("sim")) == dict.fromkeys(models, ("Completed", 0))
    if cluster.command:  # else there is no audit log
        assert cluster.asked(place.namespace, "mso").count("create") <= 20


def test_an_order_that_comes_three_times_makes_one_pod_a_model(
    place: Place, gates: Gates, mso: MsoProcess, peer: Peer
) -> None:
    """A repeated order of a live run changes nothing."""
    request = order(configuration("a", "gated"), configuration("b", "gated"), version=2, keep_logs_hours=1)
    for _ in range(3):
        peer.deploy("sim", request)
    gates.wait_for("a", "b")
    mso.wait_for_event("order.unchanged", 2)
    assert place.pods().keys() == {"a", "b"}
    gates.open(a=0, b=0)
    assert reasons(peer.wait_for_end("sim")) == {"a": ("Completed", 0), "b": ("Completed", 0)}
    assert gates.started == {"a": 1, "b": 1}


def test_a_foreign_pod_of_the_very_name_is_left_alone(
    cluster: Cluster, place: Place, mso: MsoProcess, peer: Peer
) -> None:
    """The model could not be deployed, which is told; whose pod it is, is not for MSO to decide."""
    name = pod_name(Attempt(ModelKey(SimulationId("sim"), 1, ModelId("a")), 1))
    foreign = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": place.namespace, "name": name},
        # So neither scheduler nor kubelet writes into it.
        "spec": {"containers": [{"name": "model", "image": "any"}], "schedulingGates": [{"name": "mso.test/never"}]},
    }
    cluster.create(foreign)
    (before,) = cluster.pods(place.namespace)
    peer.deploy("sim", order(configuration("a", "ends"), configuration("b", "ends"), version=2))
    heard = peer.wait_for_end("sim")
    assert reasons(heard) == {"a": ("DeployFailed", -1), "b": ("Completed", 0)}
    assert name in told(heard)["a"].message
    place.wait_until_gone("b")
    assert cluster.pods(place.namespace) == [before]


def test_ids_that_no_pod_may_be_called_by_all_get_pods_of_their_own(
    cluster: Cluster, place: Place, mso: MsoProcess, peer: Peer
) -> None:
    """Whatever an orchestrator calls its models and simulations, each is deployed, and told by its own id."""
    # Ids that look the same once they are joined, and one simulation with a name as bad as any.
    simulations = {"sim": NASTY, "a-b": ("c",), "a": ("b-c",), "\N{GRINNING FACE} " + "S" * 200: ("A", "a")}
    for simulation, models in simulations.items():
        peer.deploy(simulation, order(*(configuration(model, "paper") for model in models), version=2))
    count = sum(map(len, simulations.values()))
    mso.wait_for_event("model.deployed", count)
    assert len(cluster.pods(place.namespace)) == count
    for simulation in simulations:
        peer.done(simulation)
    for simulation, models in simulations.items():
        assert reasons(peer.wait_for_end(simulation)) == dict.fromkeys(models, ("Stopped", -1))


def test_simulations_wait_whole_where_only_so_many_models_may_live(
    place: Place, gates: Gates, start_mso: StartMso, peer: Peer
) -> None:
    """The second one is deployed when the first has ended, and not by halves; one that never has room is rejected."""
    mso = start_mso(place, MSO_MAX_ACTIVE_PODS="3")
    peer.deploy("first", order(configuration("a", "gated"), configuration("b", "gated"), version=2))
    gates.wait_for("a", "b")
    peer.deploy("second", order(configuration("c", "gated"), configuration("d", "gated"), version=2))
    (waiting,) = mso.wait_for_event("simulation.waiting")
    assert (waiting["simulation"], waiting["models"]) == ("second", 2)
    peer.deploy("large", order(*(configuration(f"m{number}", "gated") for number in range(4)), version=2))
    peer.wait_for("large", "DeployModelsRejected")
    assert place.pods().keys() == {"a", "b"}
    gates.open(a=0, b=0)
    peer.wait_for_end("first")
    gates.wait_for("c", "d")
    gates.open(c=0, d=0)
    assert reasons(peer.wait_for_end("second")) == {"c": ("Completed", 0), "d": ("Completed", 0)}
    assert peer.names("large") == ["DeployModelsRejected"]
