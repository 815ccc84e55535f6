"""`python -m mso.healthcheck`: whether the `mso run` beside it is alive, for an image in which there is no curl.

It is started again and again for as long as the service runs, so it imports next to nothing.
"""

import os
import sys
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from mso import config

TIMEOUT_SECONDS = 4.0
HEALTHY, UNHEALTHY = 0, 1
"""The two exit statuses that a container engine knows."""


def main() -> int:
    """Ask `/livez`, on the port of the same configuration; returns the exit status, and prints what is wrong."""
    try:
        port = config.load(os.environ, Path(".env")).http_port
    except config.ConfigError as exc:
        print(exc)
        return UNHEALTHY
    if not port:
        print("MSO_HTTP_PORT=0: there is nothing that could be asked")
        return HEALTHY
    # Not urllib: it would ask the proxy that the environment may name.
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/livez")
        answer = connection.getresponse()
        print(answer.read().decode(errors="replace"))
    except (OSError, HTTPException) as exc:
        print(f"/livez on port {port} does not answer: {exc!r}")
        return UNHEALTHY
    finally:
        connection.close()
    return HEALTHY if answer.status == 200 else UNHEALTHY


if __name__ == "__main__":
    sys.exit(main())
