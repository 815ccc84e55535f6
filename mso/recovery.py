"""Recovery: the inventory as an earlier process left it, from what the ledger kept. Pure.

What happened since then is found out by the first listing of what runs; here is only what was known.
"""

from collections.abc import Iterable

from mso.inventory import Inventory
from mso.ledger import KnownRun, Recovered
from mso.model import Attempt
from mso.runs import Run


def restore(inventory: Inventory, recovered: Recovered) -> frozenset[Attempt]:
    """Fill an empty inventory; returns the attempts that had been seen where models run."""
    for known in recovered.bygone:
        inventory.remember(_run(known))
    for known in recovered.runs:
        inventory.restore(_run(known))
    for taken in recovered.taken:
        inventory.remember_request(taken.run, taken.request_id, taken.digest, taken.delivery)
    return frozenset(_deployed(recovered.runs))


def _run(known: KnownRun) -> Run:
    record = known.record
    run = Run(
        record.key,
        record.request,
        announced=record.announced,
        stopping=record.stopping,
        removing_since=record.removing_since,
        ended_at=record.ended_at,
        reported_at=record.reported_at,
        digests={request.digest for request in known.requests},
        request_ids={request.request_id for request in known.requests if request.request_id},
        deliveries={(request.digest, request.delivery) for request in known.requests if request.delivery},
    )
    for one in known.models:
        run.put(one.model)
    return run


def _deployed(runs: Iterable[KnownRun]) -> Iterable[Attempt]:
    for known in runs:
        for one in known.models:
            if one.deployed:
                yield one.model.current
