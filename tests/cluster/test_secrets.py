"""Variables of a model that come from a Secret of its namespace: the value is never sent, and never seen here."""

from mso.protocol.messages.lifecycle_pb2 import EnvironmentVariable, ModelConfiguration
from tests.cluster.place import Place
from tests.kubernetes_cluster import Cluster
from tests.peer import Peer, configuration, order
from tests.service import MsoProcess
from tests.told import reasons, told

SECRET, CANARY = "how-it-ends", "canary-7f3a"


def with_secret(model: ModelConfiguration, name: str, key: str, secret: str = SECRET) -> ModelConfiguration:
    """The model gets this variable from a secret; whatever its value says counts for nothing."""
    model.environmentVariables.append(EnvironmentVariable(name=name, value="ignored", secretName=secret, secretKey=key))
    return model


def test_a_variable_comes_from_a_secret_of_the_namespace(
    cluster: Cluster, place: Place, mso: MsoProcess, peer: Peer
) -> None:
    """The model ends as the secret says; the pod has but a reference, and neither log nor ledger the value."""
    metadata = {"name": SECRET, "namespace": place.namespace}
    cluster.create(
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"code": "7", "key": CANARY}}
    )
    model = with_secret(with_secret(configuration("a", "ends"), "CODE", "code"), "PASSWORD", "key")
    peer.deploy("sim", order(model, version=2, keep_logs_hours=1))
    assert reasons(peer.wait_for_end("sim")) == {"a": ("Error", 7)}
    assert CANARY not in str(place.pods()) + mso.log()


def test_a_secret_that_is_missing_is_told_within_the_grace(place: Place, mso: MsoProcess, peer: Peer) -> None:
    """DeployFailed at once, with the words of the cluster; no time mends it, and the pod is gone."""
    missing = with_secret(configuration("a", "ends"), "CODE", "code", secret="no-such-secret")
    peer.deploy("sim", order(missing, configuration("b", "ends"), version=2, keep_logs_hours=1))
    heard = peer.wait_for_end("sim", seconds=60)
    assert reasons(heard) == {"a": ("DeployFailed", -1), "b": ("Completed", 0)}
    assert "no-such-secret" in told(heard)["a"].message
    place.wait_until_gone("a")


def test_a_key_that_the_secret_lacks_is_told_as_well(
    cluster: Cluster, place: Place, mso: MsoProcess, peer: Peer
) -> None:
    """The secret is there, and what is asked of it is not."""
    metadata = {"name": SECRET, "namespace": place.namespace}
    cluster.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"code": "7"}})
    peer.deploy("sim", order(with_secret(configuration("a", "ends"), "CODE", "kode"), version=2))
    heard = peer.wait_for_end("sim", seconds=60)
    assert reasons(heard) == {"a": ("DeployFailed", -1)}
    assert "kode" in told(heard)["a"].message
