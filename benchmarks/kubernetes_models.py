"""How fast and how heavy is `mso run` on Kubernetes? Each figure stands beside a yardstick of the same run and cluster.

- *deploy*: from DeployModels to the last create that the API accepted. Yardstick, the *bare creator*: as many POSTs of
  as large a pod at the same concurrency by plain aiohttp.
- *end to wire*: how much later than a *bare watcher* (twenty lines that watch and note) a subscriber hears of an end;
  apart from others those that wait for a log: of models that failed, where version 2 was asked for.
- *requests*: what the audit log of the API server counts for MSO, a model; to read a log and events, a failed model.
- *CPU* and *memory* of the process, while it works and while it idles; how long its loop is ever blocked, by asking
  `/livez` all the while; how long a restart takes until every pod is known again.

Pods run on the nodes of the cluster, or on paper by a program that plays kubelets (`--players`), which also says
ReadyForProcessing for them.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import yaml

from benchmarks.yardsticks import CONCURRENCY, Api, BareWatcher, Heartbeat
from mso.backplane.pod_template import PodTemplate
from mso.backplane.pods import PodSettings, pod_manifest
from mso.model import EnvironmentVariable, Model, ModelId, ModelKey, ModelSpec, Request, SimulationId, SimulatorName
from tests.kubernetes_cluster import Cluster, fake_model_image, find
from tests.mosquitto import Mosquitto
from tests.peer import Heard, Peer, configuration, order
from tests.service import MsoProcess

IMAGE = "paper:1"
NOISE_SECONDS = 15.0
READS = ("get pods/log", "list events")
"""What MSO asks of the API about a model that failed."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kubernetes_models",
        description="How fast and how heavy is `mso run` on Kubernetes? Needs a Mosquitto and MSO_TEST_KUBECONFIG.",
    )
    parser.add_argument("--models", type=int, default=400, metavar="N", help="models of the simulation (400)")
    parser.add_argument("--run-seconds", type=float, default=20.0, metavar="S", help="how long each of them works (20)")
    parser.add_argument("--idle-seconds", type=float, default=60.0, metavar="S", help="how long to watch it idle (60)")
    parser.add_argument("--posts", type=int, default=2000, metavar="N", help="of the bare creator, at most (2000)")
    parser.add_argument("--players", type=Path, metavar="PROGRAM", help="plays kubelets; else the nodes run the pods")
    parser.add_argument("--nodes", type=int, default=20, metavar="N", help="how many kubelets it plays (20)")
    parser.add_argument(
        "--image", default="", help="of the models, where nodes run them (default: fake_model, made here)"
    )
    parser.add_argument("--exit-code", type=int, default=0, metavar="N", help="how they end (0)")
    parser.add_argument(
        "--failures", type=int, metavar="N", help="how many of them end so, and the others with 0 (all)"
    )
    parser.add_argument("--version", type=int, default=1, metavar="N", help="of the protocol: 2 waits for logs (1)")
    options = parser.parse_args()
    if options.failures is None:
        options.failures = options.models
    cluster = find()
    options.image = options.image or (IMAGE if options.players else fake_model_image(cluster))
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mso-bench-")))
        # Where nodes run them, models come from outside of this machine's loopback.
        also_at = "" if options.players else cluster.gateway()
        broker = Mosquitto(directory / "mosquitto", persistence=False, max_queued_messages=0, also_at=also_at)
        mosquitto = stack.enter_context(broker)
        namespace = stack.enter_context(a_namespace(cluster))
        pod_template = template(directory, options.players is not None)
        variables = {
            "MSO_BACKPLANE": "kubernetes",
            "KUBECONFIG": str(cluster.kubeconfig),
            "KUBERNETES_NAMESPACE": namespace,
            "MSO_POD_TEMPLATE_FILE": str(pod_template),
        }
        if options.players:
            stack.enter_context(players(options.players, options.nodes, cluster, mosquitto))
        mso = stack.enter_context(MsoProcess(mosquitto, directory / "mso", **variables))
        peer = stack.enter_context(Peer(mosquitto))
        Measurement(options, cluster, namespace, pod_template, mso, peer, mosquitto).run()


class Measurement:
    def __init__(
        self,
        options: argparse.Namespace,
        cluster: Cluster,
        namespace: str,
        pod_template: Path,
        mso: MsoProcess,
        peer: Peer,
        mosquitto: Mosquitto,
    ) -> None:
        self._count: int = options.models
        self._options = options
        self._cluster = cluster
        self._api = Api(cluster.kubeconfig, namespace)
        self._namespace = namespace
        self._template = pod_template
        self._mso = mso
        self._peer = peer
        self._mosquitto = mosquitto

    def run(self) -> None:
        process = psutil.Process(self._mso.pid)
        report("memory, no model", process.memory_info().rss / 2**20, "MiB resident")
        posts = min(self._count, self._options.posts)
        bare = asyncio.run(self._bare_creator(posts)) / posts
        watcher = BareWatcher(self._api)
        watcher.start()
        watcher.ready.wait(30)
        heartbeat = Heartbeat(f"http://127.0.0.1:{self._mso.http_port}/livez")
        heartbeat.start()
        before, asked = cpu(process), self._requests()
        asked_at, began = time.time(), time.monotonic()
        self._deploy()
        heard = self._peer.wait_for_end("bench", seconds=3600)
        created = self._last_deployed() - asked_at
        report(f"from DeployModels to the last of {self._count} creates", created, "s")
        report("the same, a model", 1000 * created / self._count, "ms", 1000 * bare, "the bare creator")
        spent = cpu(process) - before
        failed = self._report_ends(heard, watcher)
        per_second = Counter(int(at - began) for at in watcher.ended.values())
        report("ends in the busiest second", max(per_second.values(), default=0), "")
        report("CPU a model, its whole life", 1000 * spent / self._count, "ms")
        answers = heartbeat.stop()
        report("loop blocked at most (longest /livez)", 1000 * answers[-1], "ms")
        report("memory after it", process.memory_info().rss / 2**20, "MiB resident")
        time.sleep(2.0)  # the audit log is written a moment later
        for request, number in sorted((self._requests() - asked).items()):
            if request in READS and failed:
                report(f"requests: {request}", number / failed, "a failed model")
            else:
                report(f"requests: {request}", number / self._count, "a model")
        self._idle(process)
        self._noise(process)
        self._restart()

    def _report_ends(self, heard: Sequence[Heard], watcher: BareWatcher) -> int:
        """How late each end was told; returns how many failed."""
        ends = [message for message in heard if message.model]
        failed = {message.model for message in ends if message.end.exitCode}
        waiting = failed if self._options.version == 2 else set()
        lags = {
            message.model: message.at - watcher.ended[message.model]
            for message in ends
            if message.model in watcher.ended
        }
        if prompt := [lag for model, lag in lags.items() if model not in waiting]:
            report_spread("end to wire, later than the bare watcher", prompt)
        if late := [lag for model, lag in lags.items() if model in waiting]:
            report_spread("end to wire of those that wait for a log", late)
        last = max(message.at for message in ends)
        report("last termination to AllModelsHaveTerminated", heard[-1].at - last, "s")
        return len(failed)

    def _last_deployed(self) -> float:
        """When the last create was accepted, by the log (time.time())."""
        events = self._mso.events("model.deployed")
        return max(datetime.fromisoformat(event["timestamp"]).timestamp() for event in events)

    def _deploy(self) -> None:
        configurations = [
            configuration(
                f"m{number}",
                self._options.image,
                SIMULATION_ID="bench",
                MODEL_ID=f"m{number}",
                RUN_SECONDS=str(self._options.run_seconds),
                EXIT_CODE=str(self._options.exit_code if number < self._options.failures else 0),
                MQTT_HOST=self._cluster.gateway(),
                MQTT_PORT=str(self._mosquitto.port),
                MQTT_USERNAME=self._mosquitto.username,
                MQTT_PASSWORD=self._mosquitto.password,
            )
            for number in range(self._count)
        ]
        self._peer.deploy("bench", order(*configurations, version=self._options.version, keep_logs_hours=1))

    async def _bare_creator(self, posts: int) -> float:
        """Seconds for as many POSTs at the same concurrency, of pods that run like the others; gone afterwards."""
        slots = asyncio.Semaphore(CONCURRENCY)
        settings = PodSettings(template=PodTemplate.load(self._template))
        async with self._api.session() as session:

            async def create(number: int) -> None:
                manifest = pod_manifest(a_model(f"bare-{number}", self._options), settings)
                manifest["metadata"]["labels"] = {"yardstick": "yes"}
                async with slots, session.post(self._api.pods, json=manifest) as answer:
                    told = await answer.text()  # or the connection is not used again
                    assert answer.status == 201, told

            began = time.monotonic()
            await asyncio.gather(*(create(number) for number in range(posts)))
            took = time.monotonic() - began
            theirs = {"labelSelector": "yardstick=yes"}
            async with session.delete(self._api.pods, params=theirs) as answer:
                await answer.read()
            while True:
                async with session.get(self._api.pods, params=theirs | {"limit": "1"}) as answer:
                    if not (await answer.json())["items"]:
                        return took
                await asyncio.sleep(1.0)

    def _requests(self) -> Counter[str]:
        """What MSO asked of this namespace so far, by verb and resource."""
        if self._cluster.command is None:
            return Counter()
        found: Counter[str] = Counter()
        for line in Path(self._cluster.audit()).read_text().splitlines():
            entry = json.loads(line)
            reference = entry.get("objectRef", {})
            if entry.get("userAgent") == "mso" and reference.get("namespace") == self._namespace:
                resource = "/".join(filter(None, (reference.get("resource"), reference.get("subresource"))))
                found[f"{entry['verb']} {resource}"] += 1
        return found

    def _idle(self, process: psutil.Process) -> None:
        """With every pod still there, for its log."""
        before, began = cpu(process), time.monotonic()
        time.sleep(self._options.idle_seconds)
        spent, seconds = cpu(process) - before, time.monotonic() - began
        report(f"idle CPU with {self._count} pods, listings included", 100 * spent / seconds, "% of a core")
        listings = seconds / 30.0
        report("CPU a listing, if all of it were that", spent / listings, "s")

    def _noise(self, process: psutil.Process) -> None:
        """The simulation's own traffic through the same broker, of which nothing is for MSO."""
        noise = [sys.executable, "-m", "benchmarks.noise", self._mosquitto.host, str(self._mosquitto.port)]
        noise += [self._mosquitto.username, self._mosquitto.password, str(NOISE_SECONDS)]
        before = cpu(process)
        sent = int(subprocess.run(noise, check=True, capture_output=True, text=True).stdout)
        report("simulation's own messages", sent / NOISE_SECONDS, "a second")
        report("CPU meanwhile", 100 * (cpu(process) - before) / NOISE_SECONDS, "% of a core")

    def _restart(self) -> None:
        """From the start of the process to everything known again, by the ledger and, without it, by the pods alone."""
        for what in ("restored", "adopted"):
            self._mso.stop()
            if what == "adopted":
                for file in (self._mso.directory / "state").glob("ledger.sqlite*"):
                    file.unlink()
            seen = len(self._mso.events(f"simulation.{what}"))
            began = time.monotonic()
            self._mso.start()
            self._mso.wait_for_event(f"simulation.{what}", seen + 1)
            self._mso.wait_for_probe("/readyz", 200)
            report(f"restart to ready, {self._count} pods {what}", time.monotonic() - began, "s")
            report("memory then", psutil.Process(self._mso.pid).memory_info().rss / 2**20, "MiB resident")


def a_model(name: str, options: argparse.Namespace) -> Model:
    """As large as one that is asked for; it belongs to no simulation, so that nobody is told that it is ready."""
    now = datetime.now(UTC)
    key = ModelKey(SimulationId("bare"), 1, ModelId(name))
    values = {
        "MODEL_ID": name,
        "RUN_SECONDS": str(options.run_seconds),
        "MQTT_HOST": "127.0.0.1",
        "MQTT_PASSWORD": "x" * 24,
    }
    environment = tuple(EnvironmentVariable(*pair) for pair in values.items())
    request = Request(SimulatorName("test-so"), key.simulation, keep_logs=timedelta(hours=1), digest="0" * 64)
    return Model(key, ModelSpec(key.model, options.image, environment), request, created_at=now, since=now)


def template(directory: Path, on_paper: bool) -> Path:
    """Nodes that are played take any pod; a real one must not take those."""
    spec: dict[str, Any] = {"terminationGracePeriodSeconds": 2}
    if on_paper:
        spec["affinity"] = {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "kubernetes.io/os", "operator": "DoesNotExist"}]}
                    ]
                }
            }
        }
    path = directory / "template.yaml"
    path.write_text(yaml.safe_dump({"template": {"spec": spec}}))
    return path


@contextmanager
def a_namespace(cluster: Cluster) -> Iterator[str]:
    name = cluster.create_namespace("mso-bench")
    try:
        yield name
    finally:
        cluster.delete_namespace(name)


@contextmanager
def players(program: Path, nodes: int, cluster: Cluster, mosquitto: Mosquitto) -> Iterator[None]:
    """Kubelets on paper, for as long as this lasts."""
    command = [sys.executable, str(program), "--nodes", str(nodes), "--start", "0.2"]
    command += [
        "--mqtt",
        f"{mosquitto.host}:{mosquitto.port}",
        "--user",
        mosquitto.username,
        "--password",
        mosquitto.password,
    ]
    process = subprocess.Popen(
        command, env=os.environ | {"KUBECONFIG": str(cluster.kubeconfig)}, stdin=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while '"fake-0"' not in cluster.kubectl("get", "nodes", "-o", "json"):
            assert process.poll() is None, "the players ended at once"
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait(30)
        for number in range(nodes):
            cluster.kubectl("delete", "node", f"fake-{number}", "--ignore-not-found", "--wait=false")


def cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def report(what: str, value: float, unit: str, yardstick: float | None = None, name: str = "") -> None:
    beside = "" if yardstick is None else f"   {name}: {yardstick:.2f} {unit} (ratio {value / yardstick:.2f})"
    print(f"{what:<55} {value:>9.2f} {unit}{beside}", flush=True)


def report_spread(what: str, seconds: list[float]) -> None:
    if len(seconds) < 2:
        print(f"{what:<55} too few: {len(seconds)}")
        return
    cuts = statistics.quantiles(seconds, n=100)
    print(
        f"{what:<55} p50 {1000 * cuts[49]:.1f} ms   p99 {1000 * cuts[98]:.1f} ms   max {1000 * max(seconds):.1f} ms"
        f"   ({len(seconds)} ends)",
        flush=True,
    )


if __name__ == "__main__":
    main()
