"""What MSO has to be allowed to do in its namespace, and whether it is: the Role that a service account needs.

https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access
"""

import asyncio
from collections.abc import Iterable

import structlog

from mso.backplane import BackplaneError
from mso.backplane.kubernetes_api import CALL_SECONDS, KubernetesApi

log = structlog.get_logger()

Right = tuple[str, str, tuple[str, ...]]
"""An API group, a resource of it (`/` and a subresource), and what is done with it."""

LEASES = (("coordination.k8s.io", "leases", ("get", "create", "update")),)
"""What the lease alone asks of the API."""

VERBS = (
    ("", "pods", ("get", "list", "watch", "create", "patch", "delete", "deletecollection")),
    ("", "pods/log", ("get",)),
    ("", "events", ("list",)),
    *LEASES,
)
"""What is asked of the API, and no more (fault B4): group, resource and verbs."""

_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


async def check_permissions(
    api: KubernetesApi, namespace: str, needed: Iterable[Right] = VERBS, *, seconds: float = CALL_SECONDS
) -> None:
    """Raises BackplaneError that names what is missing. An API that cannot be reached yet is waited for.

    `seconds` is the limit of each of the calls, which all go out at once.
    """
    asked = [(group, resource, verb) for group, resource, verbs in needed for verb in verbs]
    try:
        allowed = await asyncio.gather(*(_may(api, namespace, *one, seconds) for one in asked))
    except BackplaneError as error:
        log.warning("kubernetes.access_unchecked", why=str(error), host=api.host)
        return
    missing = [f"{verb} {resource}" for (_, resource, verb), may in zip(asked, allowed, strict=True) if not may]
    if missing:
        raise BackplaneError(
            f"in namespace {namespace!r} we may not {', '.join(missing)}: let the Role of this service account grant it"
        )


async def _may(api: KubernetesApi, namespace: str, group: str, resource: str, verb: str, seconds: float) -> bool:
    name, _, subresource = resource.partition("/")
    attributes = {
        "namespace": namespace,
        "verb": verb,
        "group": group,
        "resource": name,
        "subresource": subresource,
    }
    review = {
        "kind": "SelfSubjectAccessReview",
        "apiVersion": "authorization.k8s.io/v1",
        "spec": {"resourceAttributes": attributes},
    }
    answered = await api.call("POST", _REVIEWS, body=review, seconds=seconds)
    return bool(answered["status"].get("allowed"))
