"""What `mso run` on Kubernetes is measured beside: as little as anybody can do with the same API, by plain aiohttp."""

import asyncio
import json
import ssl
import threading
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import aiohttp
import yaml

CONCURRENCY = 32


class Api:
    """The API by plain aiohttp: what the yardsticks are made of."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster = config["clusters"][0]["cluster"]
        self.pods = f"{cluster['server']}/api/v1/namespaces/{namespace}/pods"
        self._tls = ssl.create_default_context(cafile=cluster["certificate-authority"])
        self._token = config["users"][0]["user"]["token"]

    def session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONCURRENCY + 8, ssl=self._tls),
            headers={"Authorization": f"Bearer {self._token}", "User-Agent": "yardstick"},
            timeout=aiohttp.ClientTimeout(total=None),
        )


class BareWatcher(threading.Thread):
    """Notes when the end of each pod is shown by a watch, as early as anybody could know it."""

    def __init__(self, api: Api) -> None:
        super().__init__(daemon=True)
        self._api = api
        self.ended: dict[str, float] = {}
        """By the id of the model (time.monotonic())."""
        self.ready = threading.Event()

    def run(self) -> None:
        asyncio.run(self._watch())

    async def _watch(self) -> None:
        async with self._api.session() as session:
            async with session.get(self._api.pods, params={"limit": "1"}) as answer:
                version = (await answer.json())["metadata"]["resourceVersion"]
            while True:
                query = {"watch": "1", "resourceVersion": version, "timeoutSeconds": "600"}
                with suppress(aiohttp.ClientError):
                    async with session.get(self._api.pods, params=query, read_bufsize=2**24) as stream:
                        self.ready.set()
                        async for line in stream.content:
                            seen = time.monotonic()
                            pod = json.loads(line)["object"]
                            version = pod["metadata"]["resourceVersion"]
                            statuses = pod.get("status", {}).get("containerStatuses") or [{}]
                            if statuses[0].get("state", {}).get("terminated"):
                                self.ended.setdefault(pod["metadata"]["annotations"]["mso/model-id"], seen)


class Heartbeat(threading.Thread):
    """Asks `/livez` all the while: the longest answer is about as long as the loop was blocked."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._over = threading.Event()
        self.answers: list[float] = []

    def run(self) -> None:
        while not self._over.wait(0.1):
            began = time.monotonic()
            with suppress(OSError):
                urllib.request.urlopen(self._url, timeout=60).read()  # noqa: S310 - the URL is ours
                self.answers.append(time.monotonic() - began)

    def stop(self) -> list[float]:
        self._over.set()
        self.join()
        return sorted(self.answers)
