"""The demo: a broker, the service, and a fake simulation orchestrator with its models, on this machine alone.

Only the models and the orchestrator are fake, and they are programs of their own: MQTT over TCP with a password,
protobuf and processes are real. The orchestrator judges what it hears; its verdict is the exit status.
"""

import asyncio
import io
import json
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mso import logs
from mso.broker.embedded import EmbeddedBroker
from mso.changes import Change, ModelAdded, ModelChanged
from mso.config import Config
from mso.inventory import Inventory
from mso.model import Model, ModelKey, State
from mso.service import Service

IMAGE = "fake_model:0.0.1"
SIMULATOR = "fake-so"
STOP_GRACE_SECONDS = 3.0
CLEARING_UP_SECONDS = 20.0
"""How long the models of an ended demo may take to be gone."""
REDRAW_SECONDS = 0.125

_URGENCY = (State.FAILED, State.CREATED, State.RUNNING, State.SUCCEEDED)
_STYLES = {State.CREATED: "yellow", State.RUNNING: "cyan", State.SUCCEEDED: "green", State.FAILED: "red"}


@dataclass(frozen=True, slots=True)
class Options:
    """What to play; `arguments` go to the fake simulator as they are."""

    arguments: tuple[str, ...] = ()
    json: bool = False
    log_level: str = "INFO"


def run(options: Options) -> int:
    """Play it; 0 if and only if the simulation orchestrator heard what its scenario expects."""
    console = Console(stderr=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mso-demo-")))
        summary = asyncio.run(_play(options, folder, console))
    if summary is None:
        return 1
    if options.json:
        print(json.dumps({name: summary[name] for name in ("succeeded", "models", "received", "differences")}))
    else:
        _print(summary, Console(highlight=False))
    return 0 if summary["succeeded"] else 1


async def _play(options: Options, folder: Path, console: Console) -> dict[str, Any] | None:
    inventory = Inventory()
    async with _told(inventory, console, options.log_level), EmbeddedBroker(folder / "broker") as broker:
        images = folder / "images.yaml"
        images.write_text(yaml.safe_dump({IMAGE: [sys.executable, "-m", "fake_model"]}))
        service = Service(
            Config(
                simulators=(SIMULATOR,),
                mqtt_host=broker.host,
                mqtt_port=broker.port,
                mqtt_username=broker.username,
                mqtt_password=broker.password,
                mqtt_client_id="mso-demo",
                backplane="local",
                local_images=images,
                state_dir=folder / "state",
                http_port=0,
                stop_grace_seconds=STOP_GRACE_SECONDS,
            ),
            inventory,
        )
        environment = {
            **os.environ,
            "MQTT_HOST": broker.host,
            "MQTT_PORT": str(broker.port),
            "MQTT_USERNAME": broker.username,
            "MQTT_PASSWORD": broker.password,
            "SIMULATOR_NAME": SIMULATOR,
        }
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(service.run(), name="service")
            try:
                summary = await _Simulator(options.arguments, environment).play()
                await _cleared_up(inventory)
            finally:
                service.stop()
            await serving
        return summary


@dataclass(slots=True)
class _Simulator:
    """The fake simulation orchestrator: a process that says what it hears, one JSON object a line."""

    arguments: Sequence[str]
    environment: dict[str, str] = field(repr=False)

    async def play(self) -> dict[str, Any] | None:
        """Its summary, or None if it ended without one (it has then said why itself)."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "fake_simulator",
            "--json",
            *self.arguments,
            env=self.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            limit=2**26,
            start_new_session=True,  # Ctrl-C is for us to hand on, so that it comes once
        )
        loop = asyncio.get_running_loop()
        summary = None
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, _hand_on, process)
            assert process.stdout is not None
            async for line in process.stdout:
                said = json.loads(line)
                if said.pop("type") == "summary":
                    summary = said
            await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return summary


def _hand_on(process: asyncio.subprocess.Process) -> None:
    """An interrupted simulator says SimulationDone, and so its models are stopped."""
    with suppress(ProcessLookupError):
        process.terminate()


async def _cleared_up(inventory: Inventory) -> None:
    """Wait until nothing of any run is left."""
    cleared = asyncio.Event()

    def look(_: object) -> None:
        if not any(True for _ in inventory.runs()):
            cleared.set()

    inventory.subscribe(look)
    look(None)
    with suppress(TimeoutError):
        async with asyncio.timeout(CLEARING_UP_SECONDS):
            await cleared.wait()


# -- what is to be seen ---------------------------------------------------------------------------------------------


@asynccontextmanager
async def _told(inventory: Inventory, console: Console, log_level: str) -> AsyncIterator[None]:
    """The log, and on a terminal a live table of the models below it."""
    if not console.is_terminal:
        logs.configure(log_level, "console")
        yield
        return
    board, page = _Board(console), _Page()
    inventory.subscribe(board.observe)
    with Live(get_renderable=board.table, console=console, auto_refresh=False) as live:
        logs.configure(log_level, "console", page)
        drawing = asyncio.create_task(_draw(live, page), name="draw")
        try:
            yield
        finally:
            drawing.cancel()
            page.turn(live)
            logs.configure(log_level, "console")


class _Page(io.StringIO):
    """The log since it was last drawn: to draw the table anew for each line of it would hold up the service."""

    def isatty(self) -> bool:
        return True

    def turn(self, live: Live) -> None:
        """Show the lines above the table, and the table as it is now."""
        if lines := self.getvalue():
            self.seek(0)
            self.truncate()
            live.console.print(Text.from_ansi(lines), end="", soft_wrap=True)
        live.refresh()


async def _draw(live: Live, page: _Page) -> None:
    while True:
        page.turn(live)
        await asyncio.sleep(REDRAW_SECONDS)


class _Board:
    """The models as they were last seen, also when they are removed: what is told last is how they ended."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._models: dict[ModelKey, Model] = {}

    def observe(self, change: Change) -> None:
        if isinstance(change, ModelAdded | ModelChanged):
            self._models[change.model.key] = change.model

    def table(self) -> Table:
        """As many as fit, those first that somebody should look at."""
        tally = Counter(model.state for model in self._models.values())
        table = Table(
            *("model", "state", "since", "exit code", "reason"),
            caption=", ".join(f"{tally[state]} {state.value}" for state in State if tally[state]),
            caption_justify="left",
        )
        shown = list(self._models.values())
        room = max(4, self._console.height - 12)
        if len(shown) > room:
            shown = sorted(shown, key=lambda model: _URGENCY.index(model.state))[:room]
        now = datetime.now(UTC)
        for model in shown:
            table.add_row(
                model.key.model,
                f"[{_STYLES[model.state]}]{model.state.value}",
                f"{(now - model.since).total_seconds():.0f} s",
                "" if model.exit_code is None else str(model.exit_code),
                str(model.reason or ""),
            )
        return table


def _print(summary: dict[str, Any], console: Console) -> None:
    console.print("\nWhat the simulation orchestrator received, in order:", style="bold")
    for message in summary["received"]:
        parts = [f"{message['after']:8.3f} s", message["message"], message.get("model", "")]
        if "state" in message:
            parts += [message["state"], f"exit code {message['exitCode']}", message.get("reason", "")]
        parts.append(message.get("text", ""))
        console.print("  ".join(part for part in parts if part), markup=False, soft_wrap=True)
        for line in message.get("lastLogLines", ()):
            console.print(f"{'':12}| {line}", style="dim", markup=False, soft_wrap=True)
    for difference in summary["differences"]:
        console.print(f"not as expected: {difference}", style="red", markup=False)
    if summary["succeeded"]:
        console.print("All of it is as the scenario expects.", style="green")
