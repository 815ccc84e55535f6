"""What a model asks of its machine, in the quantities of Kubernetes, as limits of one container. Pure.

https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

import math
import re
from decimal import Decimal
from typing import Any

from mso.backplane import DeployError
from mso.model import Reason, Resources

PERIOD_MICROSECONDS = 100_000
_LEAST_QUOTA = 1000
"""The kernel takes no less."""
_SHARES_OF_A_CORE = 1024
_LEAST_SHARES, _MOST_SHARES = 2, 262_144

_QUANTITY = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(?:[eE]([+-]?\d{1,2})|([numkMGTPE]|[KMGTPE]i)?)")
_SUFFIXES = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    **{letter: Decimal(1000) ** power for power, letter in enumerate("kMGTPE", start=1)},
    **{f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", start=1)},
}


def parse(text: str) -> Decimal:
    """`500m` is 0.5, `2Gi` is 2147483648. Raises ValueError."""
    found = _QUANTITY.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no quantity: a number, perhaps with a suffix, such as 500m, 1.5, 2Gi or 300M")
    number, exponent, suffix = found.groups()
    return Decimal(number) * (Decimal(10) ** int(exponent) if exponent else _SUFFIXES[suffix or ""])


def limits_of(resources: Resources) -> dict[str, Any]:
    """The part of a HostConfig that says so. Raises DeployError for what is no quantity.

    A limit of CPU is a quota and not a number of processors, which the engine would compare with those that it has.
    Memory does not go to swap beyond its limit: the model is killed there, as a pod is.
    """
    limits: dict[str, Any] = {}
    if cores := _amount("cpuLimit", resources.cpu_limit):
        quota = max(_LEAST_QUOTA, math.ceil(cores * PERIOD_MICROSECONDS))
        limits |= {"CpuPeriod": PERIOD_MICROSECONDS, "CpuQuota": quota}
    if cores := _amount("cpuRequest", resources.cpu_request):
        limits["CpuShares"] = min(_MOST_SHARES, max(_LEAST_SHARES, int(cores * _SHARES_OF_A_CORE)))
    if size := _amount("memoryLimit", resources.memory_limit):
        limits["Memory"] = limits["MemorySwap"] = math.ceil(size)
    if size := _amount("memoryRequest", resources.memory_request):
        limits["MemoryReservation"] = math.ceil(size)
    if resources.gpus:
        limits["DeviceRequests"] = [{"Driver": "", "Count": resources.gpus, "Capabilities": [["gpu"]]}]
    return limits


def _amount(name: str, text: str) -> Decimal | None:
    try:
        return parse(text) if text else None
    except ValueError as error:
        raise DeployError(Reason.DEPLOY_FAILED, f"{name}: {error}") from error
