"""The world on a Docker engine: models are containers, which people stop, kill and delete by hand.

MSO reaches the engine by a proxy, whose connections are cut and delayed. Beside the containers of MSO there are
strangers that look like them, and have to be left alone.
"""

import contextlib
import threading
import time
from pathlib import Path

from tests.chaos.evidence import Life
from tests.chaos.faults import Fault, Kind
from tests.chaos.plan import IMAGE, Can, Hand
from tests.chaos.world import World, between
from tests.docker_engine import (
    clear,
    containers,
    docker,
    gateway,
    inspect,
    new_project,
    script_image,
    socket_path,
    volumes,
)
from tests.tcp_proxy import TcpProxy

_GONE_SECONDS = 60.0
"""How long containers may take to vanish after the last word about them."""


class DockerWorld(World):
    backplane = "docker"
    can = Can(hands=True, slots=3, models=4)

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.address = gateway()
        self.project = new_project()
        self._kept: set[str] = set()

    @property
    def kinds(self) -> frozenset[Kind]:
        return super().kinds | {Kind.API_CUT, Kind.API_DELAY}

    def left(self) -> list[str]:
        if any(fault.kind is Kind.CLOCK_JUMP and fault.note.startswith("+") for fault in self.happened):
            # A run whose end MSO dated by a clock that was ahead is kept until that time has come.
            self._kept |= {name for name, status in self._ours().items() if status in ("exited", "volume")}
        deadline = time.monotonic() + _GONE_SECONDS
        while (found := self._unwanted()) and time.monotonic() < deadline:
            time.sleep(0.5)  # what is to go can only be looked for
        return [f"{name}, {status}" for name, status in found.items()]

    def _unwanted(self) -> dict[str, str]:
        return {name: status for name, status in self._ours().items() if name not in self._kept}

    def touched(self) -> list[str]:
        now = self._strangers()
        return [
            f"container {name}: was {was}, is {now[name]}" for name, was in self._before.items() if now[name] != was
        ]

    def _begin_msos(self) -> None:
        script_image(Path(__file__).with_name("model.py").read_text(), name=IMAGE)
        self._stack.callback(clear, self.project)
        self._make_strangers()
        self.register.lay_hands = self._lay_hands
        self.for_engine = self._stack.enter_context(TcpProxy(socket_path()))
        self._add_mso(
            {
                "PATH": "/usr/bin:/bin",
                "MSO_BACKPLANE": "docker",
                "DOCKER_HOST": f"tcp://127.0.0.1:{self.for_engine.port}",
                "MSO_DOCKER_PROJECT": self.project,
                "MSO_IMAGE_PULL_GRACE_SECONDS": "1",
                "MSO_STATE_DIR": str(self.directory / "state"),
            }
        )

    def _fault(self, fault: Fault) -> contextlib.AbstractContextManager[object]:
        proxy = self.for_engine
        match fault.kind:
            case Kind.API_CUT:
                return between(proxy.cut, proxy.cut)
            case Kind.API_DELAY:
                return between(proxy.stop_answering, proxy.answer)
            case _:
                return super()._fault(fault)

    def _lay_hands(self, life: Life, hand: Hand) -> None:
        threading.Thread(target=self._do_by_hand, args=(life, hand), daemon=True).start()

    def _do_by_hand(self, life: Life, hand: Hand) -> None:
        """Stop and delete it, delete it by force, or kill it, as people do with the command line."""
        container = life.where.partition("@")[2]
        if life.ended is not None:
            return
        life.hand = time.monotonic()
        match hand:
            case Hand.DELETES:
                docker("stop", "--time", "2", container, check=False)
                docker("rm", container, check=False)
            case Hand.DELETES_BY_FORCE:
                docker("rm", "--force", container, check=False)
            case Hand.EVICTS:
                docker("kill", container, check=False)

    def _ours(self) -> dict[str, str]:
        """The states of all containers but strangers, by name; and the volumes beside them."""
        label = f"mso/project={self.project}"
        found = {one["Name"].lstrip("/"): one["State"]["Status"] for one in containers(label)}
        for stranger in self._names:
            found.pop(stranger, None)
        return found | dict.fromkeys(volumes(label), "volume")

    def _make_strangers(self) -> None:
        looks = {
            "plain": (),
            "looks-alike": ("simulator_id=chaos-one-0", "simulation_id=a-b", "model_id=m0", "mso/run-id=x"),
            "copied": ("app.kubernetes.io/managed-by=mso", f"mso/project={self.project}", "mso/simulation=a-b"),
        }
        self._names = [f"{self.project}-stranger-{look}" for look in looks]
        self._stack.callback(docker, "rm", "--force", *self._names, check=False)
        for name, labels in zip(self._names, looks.values(), strict=True):
            options = [part for label in labels for part in ("--label", label)]
            sleeps = "import time; time.sleep(1e6)"
            docker("run", "--detach", "--name", name, *options, IMAGE, "python3", "-I", "-S", "-c", sleeps)
        self._before = self._strangers()

    def _strangers(self) -> dict[str, str]:
        found = [inspect(name) for name in self._names]
        return {one["Name"]: f"{one['Id']} {one['State']['Status']} {one['State']['StartedAt']}" for one in found}
