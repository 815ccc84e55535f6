"""How fast and how heavy is `mso run` on the local backplane? Each figure stands beside a yardstick of the same run.

- *deploy*: from DeployModels to the last model started; yardstick: the same commands by a bare loop of Popen.
- *end to wire*: from the end of a model (its exit code is on disk) to its ModelHasTerminated at a subscriber, while the
  others live (one after the other), and when all end at once; *told to wire* begins when the model is told to end, so
  it holds what the machine needs to end a process. Yardstick of both: the end of a bare child seen through a pidfd,
  plus one QoS 1 message through the same broker.
- *idle*: CPU and memory with no model, and with all of them living.
"""

import argparse
import os
import select
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import psutil

from mso.backplane.attempts import AttemptFiles
from tests.mosquitto import Mosquitto
from tests.peer import Peer, configuration, order
from tests.service import IMAGES, MsoProcess


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.local_models",
        description="How fast and how heavy is `mso run` on the local backplane? Needs a Mosquitto, and Linux.",
    )
    parser.add_argument("--models", type=int, default=400, metavar="N", help="models that live at once (400)")
    parser.add_argument("--idle-seconds", type=float, default=20.0, metavar="S", help="how long to watch it idle (20)")
    options = parser.parse_args()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mso-bench-")))
        # One that saves every change takes some 200 messages a second: it would be what is measured.
        mosquitto = stack.enter_context(Mosquitto(directory / "mosquitto", persistence=False))
        mso = stack.enter_context(MsoProcess(mosquitto, directory / "mso"))
        peer = stack.enter_context(Peer(mosquitto))
        measure(options.models, options.idle_seconds, directory, mso, peer)


def measure(count: int, idle_seconds: float, directory: Path, mso: MsoProcess, peer: Peer) -> None:
    process = psutil.Process(mso.pid)
    report("idle CPU, 0 models", idle_cpu(process, idle_seconds), "% of a core")
    report("memory, 0 models", process.memory_info().rss / 2**20, "MiB resident")

    gates = make_gates(directory, "one-by-one", count)
    bare = bare_start(gates)
    report(f"deploy {count} models", deploy(peer, mso, "one-by-one", gates), "s", bare, "a bare Popen loop")
    report(f"idle CPU, {count} models", idle_cpu(process, idle_seconds), "% of a core")
    report(f"memory, {count} models", process.memory_info().rss / 2**20, "MiB resident")

    trips = sorted(round_trip(peer, number) for number in range(100))
    ends = sorted(bare_end(directory, number) for number in range(100))
    yardstick = [end + trip for end, trip in zip(ends, trips, strict=True)]
    report_spread("yardstick: end of a bare child + one message", yardstick)
    told = {model: open_gate(path) for model, path in paced(gates)}
    report_ends("one-by-one", "one after the other", told, mso, peer, yardstick)

    gates = make_gates(directory, "all-at-once", count)
    deploy(peer, mso, "all-at-once", gates)
    told = {model: open_gate(path) for model, path in gates.items()}
    last = report_ends("all-at-once", "all at once", told, mso, peer, yardstick)
    report("all at once: first told to last heard", last - min(told.values()), "s")
    report("memory after both", process.memory_info().rss / 2**20, "MiB resident")


def make_gates(directory: Path, simulation: str, count: int) -> dict[str, Path]:
    """A named pipe for each model, which ends when its exit code is written there."""
    folder = directory / simulation
    folder.mkdir()
    gates = {f"m{number}": folder / f"m{number}" for number in range(count)}
    for path in gates.values():
        os.mkfifo(path)
    return gates


def deploy(peer: Peer, mso: MsoProcess, simulation: str, gates: dict[str, Path]) -> float:
    """Seconds from the request to the last model started, by the time stamps of the log; then all are ready."""
    before = len(mso.events("model.deployed"))
    began = time.time()
    models = [configuration(model, "gated", GATE=str(path)) for model, path in gates.items()]
    peer.deploy(simulation, order(*models, keep_logs_hours=1))
    events = mso.wait_for_event("model.deployed", before + len(gates))
    peer.ready(simulation, *gates)
    peer.wait_for(simulation, "ModelsReady")
    return max(datetime.fromisoformat(event["timestamp"]).timestamp() for event in events) - began


def report_ends(
    simulation: str, how: str, told: dict[str, float], mso: MsoProcess, peer: Peer, yardstick: list[float]
) -> float:
    """When the last end was heard (time.monotonic())."""
    heard = {message.model: message.at for message in peer.wait_for_end(simulation) if message.model}
    ended = ends_on_disk(mso, simulation)
    report_spread(f"end to wire, {how}", [heard[model] - ended[model] for model in told], yardstick)
    report_spread(f"told to wire, {how}", [heard[model] - told[model] for model in told], yardstick)
    return max(heard.values())


def ends_on_disk(mso: MsoProcess, simulation: str) -> dict[str, float]:
    """When the exit code of each model was written (as time.monotonic()), as exactly as the file system dates it."""
    offset = time.time() - time.monotonic()
    ended: dict[str, float] = {}
    for record in (mso.directory / "state" / "local").glob("*/*/*/*/model.json"):
        key = AttemptFiles(record.parent).model().key
        if key.simulation == simulation:
            ended[key.model] = (record.parent / "exit").stat().st_mtime - offset
    return ended


def bare_start(gates: dict[str, Path]) -> float:
    """Seconds that a loop needs that does nothing but start the same commands."""
    began = time.perf_counter()
    children = [
        subprocess.Popen(
            IMAGES["gated"],
            env={"PATH": os.environ["PATH"], "GATE": str(path)},
            start_new_session=True,
            stdin=subprocess.DEVNULL,
        )
        for path in gates.values()
    ]
    took = time.perf_counter() - began
    for child in children:
        child.kill()
    for child in children:
        child.wait()
    return took


def bare_end(directory: Path, number: int) -> float:
    """Seconds from telling a child of our own to end until its pidfd says that it did."""
    gate = directory / f"bare-{number}"
    os.mkfifo(gate)
    child = subprocess.Popen(IMAGES["gated"], env={"PATH": os.environ["PATH"], "GATE": str(gate)})
    descriptor = os.pidfd_open(child.pid)
    told = open_gate(gate)
    select.select([descriptor], [], [])
    took = time.monotonic() - told
    os.close(descriptor)
    child.wait()
    return took


def open_gate(path: Path) -> float:
    """Let the model behind it end with exit code 0; when (time.monotonic())."""
    with path.open("w") as gate:  # waits until the model is at its gate
        told = time.monotonic()
        gate.write("0\n")
    return told


def paced(gates: dict[str, Path]) -> Iterator[tuple[str, Path]]:
    """One about every 20 ms."""
    for pair in gates.items():
        time.sleep(0.02)
        yield pair


def round_trip(peer: Peer, number: int) -> float:
    """Seconds for one QoS 1 message through the broker and back to a subscriber."""
    simulation = f"trip-{number}"
    began = time.monotonic()
    peer.publish(f"/lifecycle/mso/{peer.name}/{simulation}/Trip")
    return peer.wait_for(simulation, "Trip")[0].at - began


def idle_cpu(process: psutil.Process, seconds: float) -> float:
    before = sum(process.cpu_times()[:2])
    time.sleep(seconds)
    return (sum(process.cpu_times()[:2]) - before) / seconds * 100


def report(what: str, value: float, unit: str, yardstick: float = 0, of_what: str = "") -> None:
    beside = f"  ({value / yardstick:.1f} x {of_what}: {yardstick:.3f} {unit})" if yardstick else ""
    print(f"{what:<46} {value:8.3f} {unit}{beside}", flush=True)


def report_spread(what: str, seconds: list[float], yardstick: list[float] | None = None) -> None:
    values = sorted(value * 1000 for value in seconds)
    p50, p99 = statistics.median(values), values[int(len(values) * 0.99) - 1]
    beside = f"  ({p50 / statistics.median(yardstick) / 1000:.1f} x the yardstick)" if yardstick else ""
    print(f"{what:<46} p50 {p50:7.2f} ms  p99 {p99:7.2f} ms  max {values[-1]:7.2f} ms{beside}", flush=True)


if __name__ == "__main__":
    main()
