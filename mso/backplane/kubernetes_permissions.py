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
    try:
        lacking = await missing(api, namespace, needed, seconds=seconds)
    except BackplaneError as error:
        log.warning("kubernetes.access_unchecked", why=str(error), host=api.host)
        return
    named = [f"{verb} {resource}" for _, resource, verbs in lacking for verb in verbs]
    if named:
        raise BackplaneError(
            f"in namespace {namespace!r} we may not {', '.join(named)}: let the Role of this service account grant it"
        )


async def missing(
    api: KubernetesApi, namespace: str, needed: Iterable[Right] = VERBS, *, seconds: float = CALL_SECONDS
) -> list[Right]:
    """What of it we may not, in the same order; rights that we have whole are not in it. Raises BackplaneError."""
    asked = [(group, resource, verb) for group, resource, verbs in needed for verb in verbs]
    allowed = await asyncio.gather(*(may(api, namespace, *one, seconds=seconds) for one in asked))
    lacking: dict[tuple[str, str], list[str]] = {}
    for (group, resource, verb), is_allowed in zip(asked, allowed, strict=True):
        if not is_allowed:
            lacking.setdefault((group, resource), []).append(verb)
    return [(*what, tuple(verbs)) for what, verbs in lacking.items()]


async def may(
    api: KubernetesApi,
    namespace: str,
    group: str,
    resource: str,
    verb: str,
    *,
    object_name: str = "",
    seconds: float = CALL_SECONDS,
) -> bool:
    """Whether we may do one thing, with everything of that kind or with one of them. An empty namespace means all.

    Raises BackplaneError.
    """
    name, _, subresource = resource.partition("/")
    attributes = {
        "namespace": namespace,
        "verb": verb,
        "group": group,
        "resource": name,
        "subresource": subresource,
        "name": object_name,
    }
    review = {
        "kind": "SelfSubjectAccessReview",
        "apiVersion": "authorization.k8s.io/v1",
        "spec": {"resourceAttributes": attributes},
    }
    answered = await api.call("POST", _REVIEWS, body=review, seconds=seconds)
    return bool(answered["status"].get("allowed"))
