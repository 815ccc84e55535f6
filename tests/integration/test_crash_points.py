"""MSO is killed between every two durable steps, by name, and each time the next one makes everything right."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from mso.crash import POINTS
from tests.integration.conftest import StartMso
from tests.integration.test_simulations import gate
from tests.mosquitto import Mosquitto
from tests.peer import Peer, configuration, order
from tests.service import PATIENCE_SECONDS, MsoProcess

CODES = {"fails": 3, "succeeds": 0, "crashes": 4}
TIMES = {"record.before-commit": 6, "record.after-commit": 6, "send.after-send": 3, "send.after-acknowledge": 3}
"""Points that are passed several times: each time is a kill of its own. The others are passed once for each."""
KILLS = [f"{point}:{time}" for point in POINTS for time in range(1, TIMES.get(point, 1) + 1)]


@pytest.mark.parametrize("kill", KILLS)
def test_a_kill_at_a_point_loses_nothing_and_starts_nothing_twice(
    mosquitto: Mosquitto, start_mso: StartMso, peer: Peer, tmp_path: Path, kill: str
) -> None:
    """Each model is started once and told at least once with its true end, ModelsReady once, the whole once ended."""
    mso = start_mso(mosquitto)
    assert mso.stop() == 0
    mso.set("MSO_CRASH_AT", kill)
    mso.start()
    service = Revived(mso)
    gates = {model: gate(tmp_path, model) for model in CODES}
    notes = tmp_path / "notes"
    notes.mkdir()
    models = [
        configuration(model, "notes-start", NOTE=str(notes / model), GATE=str(path)) for model, path in gates.items()
    ]
    peer.deploy("sim", order(*models, version=2))
    service.until(lambda: len(list(notes.iterdir())) == len(CODES))
    peer.ready("sim", *CODES)
    service.until(lambda: "ModelsReady" in peer.names("sim"))
    for model, code in CODES.items():
        gates[model].write_text(f"{code}\n")
    service.until(lambda: "AllModelsHaveTerminated" in peer.names("sim"))
    service.until(lambda: bool(mso.events("model.removed", simulation="sim")))
    assert service.kills == 1
    assert {path.name: path.read_text() for path in notes.iterdir()} == dict.fromkeys(CODES, "started\n")
    heard = peer.heard("sim")
    assert Counter(message.name for message in heard)["ModelsReady"] == 1
    first = [message.name for message in heard].index("AllModelsHaveTerminated")
    assert {message.model: message.end.exitCode for message in heard[:first] if message.model} == CODES
    assert all(message.end.exitCode == CODES[message.model] for message in heard if message.model)


class Revived:
    """A service that is started again, unharmed, when it was killed."""

    def __init__(self, mso: MsoProcess) -> None:
        self._mso = mso
        self.kills = 0

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, self._mso.log()[-4000:]
            assert self._mso.process
            if self._mso.process.poll() is not None:
                self.kills += 1
                self._mso.set("MSO_CRASH_AT")
                self._mso.start(wait=False)
            time.sleep(0.02)  # what another process does without a word can only be looked at again
