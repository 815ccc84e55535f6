"""The world on one machine: models are processes, and the disk under the ledger gets full."""

import contextlib
import json
import sys
import time
from pathlib import Path

from tests.chaos import disk
from tests.chaos.disk import SmallDisk
from tests.chaos.faults import Fault, Kind
from tests.chaos.plan import IMAGE
from tests.chaos.world import World, between, processes_with

_GONE_SECONDS = 5.0
"""How long processes of models that have ended may take to vanish."""


class LocalWorld(World):
    backplane = "local"

    @property
    def kinds(self) -> frozenset[Kind]:
        return super().kinds | ({Kind.DISK_FULL} if self.disk else frozenset())

    def left(self) -> list[str]:
        marker = f"REGISTER={self.register.address}".encode()
        deadline = time.monotonic() + _GONE_SECONDS
        while (found := processes_with(marker)) and time.monotonic() < deadline:
            time.sleep(0.1)  # the end of a process that is not ours can only be looked for
        return found

    def _begin_msos(self) -> None:
        state = self.directory / "state"
        self.disk = None if (why := disk.trouble()) else self._stack.enter_context(SmallDisk(state))
        self.left_out += [why] if why else []
        images = self.directory / "images.json"
        program = Path(__file__).with_name("model.py")
        images.write_text(json.dumps({IMAGE: [sys.executable, "-I", "-S", str(program)]}))
        self._add_mso(
            {
                "PATH": "/usr/bin:/bin",
                "MSO_BACKPLANE": "local",
                "MSO_LOCAL_IMAGES": str(images),
                "MSO_STATE_DIR": str(state),
            }
        )

    def _fault(self, fault: Fault) -> contextlib.AbstractContextManager[object]:
        if fault.kind is Kind.DISK_FULL:
            assert self.disk
            return between(self.disk.fill, self.disk.free)
        return super()._fault(fault)
