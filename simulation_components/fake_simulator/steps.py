"""The play itself: parameters, then step after step to every model, each when all have done the last one. Pure."""

import json
from collections.abc import Callable, Collection

from mso.protocol.messages import lifecycle_pb2

Send = Callable[[str, str, bytes], None]
"""To one model: its id, the name of the message, the payload."""

PARAMETERIZED = ("Parameterized", "Parametrized")  # one event under two spellings, both in use
STEP_SECONDS = 3600


class Steps:
    """A simulation of so many steps with these models. Tell it what happens; it says what to send."""

    def __init__(self, models: Collection[str], count: int, send: Send) -> None:
        self.done = 0
        """How many steps every model has calculated."""
        self.over = False
        self._models = models
        self._count = count
        self._send = send
        self._awaited: set[str] = set()
        self._answers: tuple[str, ...] = ()

    def begin(self) -> None:
        """Every model is ready: send the parameters. The second time nothing happens."""
        if not self._answers and not self.over:
            parameters = json.dumps({"time_step_seconds": STEP_SECONDS, "nr_of_time_steps": self._count})
            message = lifecycle_pb2.ModelParameters(parameters_dict=parameters)
            self._send_all("ModelParameters", message.SerializeToString(), PARAMETERIZED)

    def answered(self, model: str, name: str) -> bool:
        """A model answered; returns whether that completed a step."""
        if self.over:
            return False
        if name == "ErrorOccurred":
            self.end()
        if name not in self._answers or model not in self._awaited:
            return False
        self._awaited.remove(model)
        if self._awaited:
            return False
        completed = self._answers != PARAMETERIZED
        self.done += completed
        self._next()
        return completed

    def end(self) -> None:
        """The simulation is over, done or not: tell every model, once."""
        if not self.over:
            self.over = True
            self._send_all("SimulationDone", lifecycle_pb2.SimulationDone().SerializeToString(), ())

    def _next(self) -> None:
        if self.done == self._count:
            self.end()
        else:
            step = json.dumps({"time_step_nr": self.done + 1, "start_seconds": self.done * STEP_SECONDS})
            message = lifecycle_pb2.NewStep(parameters_dict=step)
            self._send_all("NewStep", message.SerializeToString(), ("CalculationsDone",))

    def _send_all(self, name: str, payload: bytes, answers: tuple[str, ...]) -> None:
        self._answers = answers
        self._awaited = set(self._models)
        for model in self._models:
            self._send(model, name, payload)
