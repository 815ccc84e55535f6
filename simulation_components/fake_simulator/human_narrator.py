"""The story for people: plain lines; on a terminal coloured, and with a bar over the steps."""

from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fake_simulator.play import Outcome, is_tenth
from fake_simulator.scenario import Scenario, State
from fake_simulator.wire import Announced, MsoStatus, Received


class HumanNarrator:
    """Use it with `with`, so that the terminal is itself again whatever happens."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("steps"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._progress.task_ids:
            self._progress.stop()

    def waiting_for_mso(self, seconds: float) -> None:
        self._say(f"no MSO has said that it is online: waiting for one, {seconds:g} s at most")

    def asking(self, scenario: Scenario, topic: str) -> None:
        self._say(f"asking for {len(scenario.models)} models on {topic}")

    def heard(self, message: Received | Announced | MsoStatus) -> None:
        match message:
            case Received():
                self._say(describe(message), _style(message))
            case Announced(model):
                self._say(f"{'':10}  {model}  ReadyForProcessing (overheard)", "dim")
            case MsoStatus(online):
                self._say(f"MSO is {'online' if online else 'offline'}", "dim")

    def stepped(self, done: int, steps: int) -> None:
        if self._console.is_terminal:
            if not self._progress.task_ids:
                self._progress.add_task("steps", total=steps)
                self._progress.start()
            self._progress.update(self._progress.task_ids[0], completed=done)
        elif is_tenth(done, steps):
            self._say(f"{done} of {steps} steps")

    def finished(self, outcome: Outcome) -> None:
        """What was received, in order, with the last log lines of what failed, and the verdict."""
        self._say("")
        self._say("What the simulation orchestrator received, in order:", "bold")
        for message in outcome.received:
            self._say(describe(message), _style(message))
            for line in message.termination.last_log_lines if message.termination else ():
                self._say(f"{'':10}  | {line}", "dim")
        if outcome.steps_per_second:
            self._say(f"{outcome.steps_per_second:.1f} steps/s with {len(outcome.scenario.models)} models")
        for difference in outcome.differences:
            self._say(f"not as expected: {difference}", "red")
        if not outcome.differences:
            self._say("All of it is as the scenario expects.", "green")

    def _say(self, line: str, style: str = "") -> None:
        # Nothing of it is markup: it may hold what a model printed.
        self._console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


def describe(message: Received) -> str:
    """One message as one line."""
    said = [f"{message.after:8.3f} s", message.model, message.name]
    if message.termination:
        said.append(f"{message.termination.state}, exit code {message.termination.exit_code}")
        said += (message.termination.reason, message.termination.message)
    said += (message.text, message.problem, "(retained)" if message.retained else "")
    return "  ".join(part for part in said if part)


def _style(message: Received) -> str:
    if message.termination:
        return "green" if message.termination.state is State.SUCCEEDED else "red"
    return "bold"
