"""`mso run` under a supervisor: when it ends and was not told to, it is started again, as Kubernetes does it."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

STOP_SECONDS = 30.0
RESTART_SECONDS = 1.0
"""What the supervisor waits before it starts one again that ended by itself."""


class Mso:
    """One process at a time. Its log goes where `log` points when it is started."""

    def __init__(self, environment: Mapping[str, str], directory: Path, on_own_end: Callable[[int], None]) -> None:
        self.log = directory / "mso.log"
        self.logs: list[Path] = []
        """All that were written so far, in order."""
        self._environment = dict(environment)
        self._directory = directory
        self._on_own_end = on_own_end
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        with self._lock, self.log.open("ab") as log:
            if self._process is not None:
                return
            if self.log not in self.logs:
                self.logs.append(self.log)
            process = self._process = subprocess.Popen(
                [sys.executable, "-m", "mso", "run", "--env-file", "/dev/null"],
                env=self._environment,
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        threading.Thread(target=self._watch, args=(process,), daemon=True).start()

    def kill(self) -> None:
        """kill -9, and down until `start`."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, and down until `start`. One that does not heed it is killed, and that it was is no secret."""
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _end(self, number: signal.Signals) -> None:
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._on_own_end(0)
            process.kill()
            process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with self._lock:
            if self._process is not None:
                self._process.send_signal(number)

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        status = process.wait()
        with self._lock:
            if self._process is not process:
                return  # it was told to
        self._on_own_end(status)
        threading.Event().wait(RESTART_SECONDS)
        with self._lock:
            if self._process is not process:
                return  # somebody was faster
            self._process = None
        self.start()
