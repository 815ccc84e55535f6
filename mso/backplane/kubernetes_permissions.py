"""What MSO has to be allowed to do in its namespace, and whether it is: the Role that a service account needs.

https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access
"""

import asyncio

import structlog

from mso.backplane import BackplaneError
from mso.backplane.kubernetes_api import KubernetesApi

log = structlog.get_logger()

VERBS = (
    ("pods", ("get", "list", "watch", "create", "patch", "delete", "deletecollection")),
    ("pods/log", ("get",)),
    ("events", ("list",)),
)
"""What is asked of the API, and no more (fault B4)."""

_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


async def check_permissions(api: KubernetesApi, namespace: str) -> None:
    """Raises BackplaneError that names what is missing. An API that cannot be reached yet is waited for."""
    asked = [(resource, verb) for resource, verbs in VERBS for verb in verbs]
    try:
        allowed = await asyncio.gather(*(_may(api, namespace, resource, verb) for resource, verb in asked))
    except BackplaneError as error:
        log.warning("kubernetes.access_unchecked", why=str(error), host=api.host)
        return
    missing = [f"{verb} {resource}" for (resource, verb), may in zip(asked, allowed, strict=True) if not may]
    if missing:
        raise BackplaneError(
            f"in namespace {namespace!r} we may not {', '.join(missing)}: let the Role of this service account grant it"
        )


async def _may(api: KubernetesApi, namespace: str, resource: str, verb: str) -> bool:
    name, _, subresource = resource.partition("/")
    attributes = {"namespace": namespace, "verb": verb, "resource": name, "subresource": subresource}
    review = {
        "kind": "SelfSubjectAccessReview",
        "apiVersion": "authorization.k8s.io/v1",
        "spec": {"resourceAttributes": attributes},
    }
    answered = await api.call("POST", _REVIEWS, body=review)
    return bool(answered["status"].get("allowed"))
