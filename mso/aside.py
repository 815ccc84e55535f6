"""Messages that were put aside: those whose handling raised, kept for whoever mends it.

They may hold passwords, so the folder and its files are for the owner alone, and the newest few are kept.
"""

import asyncio
import hashlib
from datetime import UTC, datetime
from pathlib import Path

KEPT = 100


class Aside:
    """A folder of payloads, each beside the name of its topic."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def keep(self, topic: str, payload: bytes) -> str:
        """Write one down; where, or why not: a full disk must not stop the service here."""
        return await asyncio.to_thread(self._keep, topic, payload)

    def _keep(self, topic: str, payload: bytes) -> str:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
        name = f"{stamp}-{hashlib.sha256(topic.encode(errors='replace')).hexdigest()[:8]}"
        kept = self._folder / f"{name}.payload"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for path, content in ((kept.with_suffix(".topic"), f"{topic}\n".encode(errors="replace")), (kept, payload)):
                path.touch(mode=0o600)
                path.write_bytes(content)
            for old in sorted(self._folder.iterdir())[: -2 * KEPT]:
                old.unlink()
        except OSError as exc:
            return f"not kept: {exc.strerror}"
        return str(kept)
