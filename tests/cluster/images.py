"""What the images of these tests are: one Python, made into many by the operator's pod template."""

from typing import Any

from tests.cluster.gates import GATED

GRACE_SECONDS = 2
"""How long Kubernetes waits after SIGTERM."""
NOWHERE = "mso.test/nowhere"
"""A label that no node has."""
NO_IMAGE = "localhost/mso-test-no-such-image:1"

_ENDS = """\
import os, sys
code = int(os.environ.get("CODE", "0"))
print("going to end with", code, flush=True)
sys.exit(code)
"""
_WAITS = """\
import os, signal, time
signal.signal(signal.SIGTERM, lambda *_: os._exit(143))  # without a handler process 1 does not hear it
time.sleep(600)
"""
_HOG = """\
taken = []
print("hungry", flush=True)
while True:
    taken.append(b"x" * (64 << 20))
"""


def pod_template(python: str, gate: str, node: str) -> dict[str, Any]:
    """The content of MSO_POD_TEMPLATE_FILE; `node` is where ghosts are sent."""
    waits = _container("model", python, _WAITS)
    gated = _container("model", python, GATED) | {
        "env": [
            {"name": "GATE", "value": gate},
            {"name": "MODEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['mso/model-id']"}}},
        ]
    }
    ends = _container("model", python, _ENDS)
    fails = _container("prepare", python, "import sys; sys.exit(9)")
    images = {
        "ends": {"containers": [ends]},
        "waits": {"containers": [waits]},
        "gated": {"containers": [gated]},
        "hog": {"containers": [_container("model", python, _HOG)]},
        # Nothing but the test ever writes into the status of these two.
        "paper": {"containers": [waits], "nodeSelector": {NOWHERE: "true"}},
        "ghost": {"containers": [waits], "nodeName": node},
        "fails-to-prepare": {"containers": [ends], "initContainers": [fails]},
        "has-sidecar": {"containers": [ends, _container("sidecar", python, _WAITS)]},
    }
    return {
        "template": {"spec": {"terminationGracePeriodSeconds": GRACE_SECONDS}},
        "images": {name: {"spec": spec} for name, spec in images.items()},
    }


def _container(name: str, image: str, program: str) -> dict[str, Any]:
    command = ["python3", "-I", "-S", "-c", program]
    # Not as root: so any image passes Pod Security `restricted` where a pod says that it does not run as root.
    return {"name": name, "image": image, "command": command, "securityContext": {"runAsUser": 65534}}
