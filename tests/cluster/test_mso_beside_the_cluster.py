"""The scripts that prepare a cluster for an MSO outside of it: what they print is all that it needs to know."""

import base64
import json
import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values

from tests.cluster.conftest import StartMso
from tests.cluster.installation import CONFIGURATION
from tests.cluster.place import Place
from tests.kubernetes_cluster import Cluster
from tests.peer import Peer, configuration, order
from tests.service import wait_until
from tests.told import reasons

REMOTE = CONFIGURATION / "setup_remote_cluster.sh"
KIND = CONFIGURATION.parent / "simulation_components" / "setup_kind_cluster.sh"
LINES = ["KUBERNETES_API_TOKEN", "KUBERNETES_HOST", "KUBERNETES_PORT", "KUBERNETES_CA_DATA", "KUBERNETES_NAMESPACE"]
LIMIT_SECONDS = 100

Script = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def script(cluster: Cluster) -> Script:
    """Runs one of them with the kubeconfig of the cluster, and whatever else the environment is to hold."""

    def run(program: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        usual = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "KUBECONFIG": str(cluster.kubeconfig)}
        return subprocess.run(
            [program, *arguments],
            env=usual | environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LIMIT_SECONDS,
            text=True,
            check=False,
        )

    return run


@contextmanager
def unused_name(cluster: Cluster) -> Iterator[str]:
    """Of a namespace that is not there yet; what is made of it goes at the end."""
    name = f"mso-test-{uuid.uuid4().hex[:10]}"
    try:
        yield name
    finally:
        cluster.delete_namespace(name)


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    with unused_name(cluster) as name:
        yield name


@dataclass(frozen=True, slots=True)
class Prepared:
    """A namespace that the script has prepared, and what it printed."""

    place: Place
    done: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def prepared(cluster: Cluster, script: Script) -> Iterator[Prepared]:
    """One for all tests that only look at it."""
    with unused_name(cluster) as name:
        yield Prepared(Place(cluster, name), script(REMOTE, "--namespace", name))


def read(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """What it printed, read as MSO reads its .env; nothing else is on stdout."""
    assert done.returncode == 0, done.stderr
    assert [line.partition("=")[0] for line in done.stdout.splitlines()] == LINES
    return {name: value or "" for name, value in dotenv_values(stream=StringIO(done.stdout), interpolate=False).items()}


def test_what_the_script_prints_is_all_that_mso_needs(prepared: Prepared, start_mso: StartMso, peer: Peer) -> None:
    """A namespace that was not there, a token, a certificate that is verified: a model is deployed, and ends."""
    lines = read(prepared.done)
    mso = start_mso(prepared.place, KUBECONFIG="", **lines)
    peer.deploy("sim", order(configuration("a", "ends", CODE="3"), version=2))
    assert reasons(peer.wait_for_end("sim")) == {"a": ("Error", 3)}
    assert not mso.events("kubernetes.tls_not_verified")
    assert lines["KUBERNETES_API_TOKEN"] not in mso.log()


def test_it_may_be_run_again_and_prints_the_same(prepared: Prepared, script: Script) -> None:
    """For who has lost the lines; what goes by them goes on."""
    again = script(REMOTE, "--namespace", prepared.place.namespace)
    assert read(again) == read(prepared.done)


def test_its_token_has_no_end(prepared: Prepared) -> None:
    """MSO reads .env once, and runs for months."""
    claims = read(prepared.done)["KUBERNETES_API_TOKEN"].split(".")[1]
    assert "exp" not in json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))


def test_mso_itself_is_not_put_into_the_cluster(prepared: Prepared) -> None:
    """One is active in a namespace, and that is to be the one outside."""
    read(prepared.done)
    assert prepared.place.kubectl("get", "deployments,services,persistentvolumeclaims", "-o", "name") == ""


def test_a_token_that_is_taken_back_is_worth_nothing_and_the_next_run_makes_another(
    cluster: Cluster, namespace: str, script: Script
) -> None:
    """As the help says: the Secret is deleted."""
    first = read(script(REMOTE, "--namespace", namespace))
    Place(cluster, namespace).kubectl("delete", "secrets", "--selector", "app.kubernetes.io/name=mso")
    second = read(script(REMOTE, "--namespace", namespace))
    assert first["KUBERNETES_API_TOKEN"] != second["KUBERNETES_API_TOKEN"]
    wait_until(lambda: not lets_in(cluster, first))
    assert lets_in(cluster, second)


def lets_in(cluster: Cluster, lines: dict[str, str]) -> bool:
    """Whether the API takes this token."""
    review = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": lines["KUBERNETES_API_TOKEN"]},
    }
    answer = cluster.kubectl("create", "-o", "json", "-f", "-", input=json.dumps(review))
    return bool(json.loads(answer)["status"].get("authenticated"))


def test_tls_is_verified_even_if_the_kubeconfig_trusts_anybody(
    cluster: Cluster, namespace: str, script: Script, tmp_path: Path
) -> None:
    """The authority is then the one that the cluster tells its pods."""
    access = cluster.access()
    there = access["clusters"][0]["cluster"]
    authority = there.pop("certificate-authority-data")
    there["insecure-skip-tls-verify"] = True
    trusting = tmp_path / "kubeconfig"
    trusting.write_text(json.dumps(access))
    lines = read(script(REMOTE, "--namespace", namespace, KUBECONFIG=str(trusting)))
    assert base64.b64decode(lines["KUBERNETES_CA_DATA"]).strip() == base64.b64decode(authority).strip()


def test_a_dry_run_shows_what_would_be_and_does_nothing(cluster: Cluster, namespace: str, script: Script) -> None:
    """What it shows is what it would apply: namespace, service account, Role, binding, token."""
    done = script(REMOTE, "--namespace", namespace, "--dry-run", KUBECONFIG="/nonexistent")
    assert done.returncode == 0, done.stderr
    kinds = [line.removeprefix("kind: ") for line in done.stdout.splitlines() if line.startswith("kind: ")]
    assert kinds == ["Namespace", "ServiceAccount", "Role", "RoleBinding", "Secret"]
    with pytest.raises(AssertionError, match="not found"):
        cluster.kubectl("get", "namespace", namespace)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    (
        (("--no-such-option",), 2, "unknown option --no-such-option"),
        (("--namespace",), 2, "--namespace wants a value"),
        (("--overlay", "/nonexistent"), 2, "no kustomization.yaml in /nonexistent"),
        (("no-such-context",), 1, "no such context"),
    ),
)
def test_a_wrong_use_is_said_and_changes_nothing(
    script: Script, arguments: tuple[str, ...], status: int, said: str
) -> None:
    """On stderr; nothing comes into .env."""
    done = script(REMOTE, *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr


def test_an_api_behind_a_path_is_said_to_be_more_than_the_lines_can_tell(namespace: str, script: Script) -> None:
    """As some proxies for many clusters have it: MSO is to be given the kubeconfig then."""
    done = script(REMOTE, "--namespace", namespace, "--server", "https://clusters.example.org/k8s/c-1")
    assert (done.returncode, done.stdout) == (1, "")
    assert "give MSO the kubeconfig itself" in done.stderr


@pytest.fixture
def kind(cluster: Cluster, tmp_path: Path) -> dict[str, str]:
    """Variables for a `kind` on paper, the clusters of which are all the real one: it writes down what it is asked."""
    access = cluster.access()
    there = access["clusters"][0]["cluster"] | {"server": "https://energy-control-plane:6443"}
    (tmp_path / "internal").write_text(
        yaml.safe_dump(access | {"clusters": [{"name": "kind-energy", "cluster": there}]})
    )
    (tmp_path / "external").write_text(json.dumps(named(access, "kind-energy")))
    (tmp_path / "clusters").touch()
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "kind"
    program.write_text(KIND_ON_PAPER)
    program.chmod(0o755)
    path = os.pathsep.join((str(program.parent), os.environ["PATH"]))
    return {"PATH": path, "ON_PAPER": str(tmp_path), "KUBECONFIG": str(tmp_path / "kubeconfig")}


KIND_ON_PAPER = """\
#!/bin/sh
set -eu
echo "$*" >> "$ON_PAPER/asked"
case "$*" in
    "get clusters") cat "$ON_PAPER/clusters" ;;
    "create cluster --name energy --wait 180s")
        echo energy >> "$ON_PAPER/clusters"
        cp "$ON_PAPER/external" "$KUBECONFIG"
        ;;
    "export kubeconfig --name energy") cp "$ON_PAPER/external" "$KUBECONFIG" ;;
    "get kubeconfig --internal --name energy") cat "$ON_PAPER/internal" ;;
    *) echo "kind: what is $*?" >&2; exit 1 ;;
esac
"""


def named(access: dict[str, Any], name: str) -> dict[str, Any]:
    """The same kubeconfig, as kind names what it makes."""
    (one,) = access["contexts"]
    return access | {"contexts": [one | {"name": name}], "current-context": ""}


def test_a_cluster_of_kind_is_made_once_and_its_lines_are_all_that_mso_needs(
    cluster: Cluster, namespace: str, script: Script, kind: dict[str, str], start_mso: StartMso, peer: Peer
) -> None:
    """Made where there is none of that name, used where there is one; TLS is verified on it as well."""
    arguments = ("--name", "energy", "--namespace", namespace)
    first, second = (read(script(KIND, *arguments, **kind)) for _ in range(2))
    assert first == second
    asked = (Path(kind["ON_PAPER"]) / "asked").read_text().splitlines()
    assert asked == [
        "get clusters",
        "create cluster --name energy --wait 180s",
        "get clusters",
        "export kubeconfig --name energy",
    ]
    mso = start_mso(Place(cluster, namespace), KUBECONFIG="", **first)
    peer.deploy("sim", order(configuration("a", "ends"), version=2))
    assert reasons(peer.wait_for_end("sim")) == {"a": ("Completed", 0)}
    assert not mso.events("kubernetes.tls_not_verified")


def test_a_container_on_the_network_of_kind_is_told_the_name_that_leads_there(
    namespace: str, script: Script, kind: dict[str, str]
) -> None:
    """127.0.0.1 would be the container itself."""
    lines = read(script(KIND, "--name", "energy", "--namespace", namespace, "--container", **kind))
    assert (lines["KUBERNETES_HOST"], lines["KUBERNETES_PORT"]) == ("energy-control-plane", "6443")
