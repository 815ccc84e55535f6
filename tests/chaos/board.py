"""Where all parts of the harness say that something happened, and wait for it. Threads; nobody ever polls."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Board:
    """`tell` after each thing that happens, and every one who waits looks again.

    What is waited for is looked at under the lock of the board: it must not wait for anything itself.
    """

    def __init__(self) -> None:
        self._news = threading.Condition()

    def tell(self) -> None:
        with self._news:
            self._news.notify_all()

    def wait(self, look: Callable[[], T], until: float) -> T:
        """What `look` found: something true, or whatever it found last when the time (monotonic) was over."""
        with self._news:
            while not (found := look()):
                left = until - time.monotonic()
                if left <= 0:
                    return found
                self._news.wait(min(left, 3600.0))
            return found
