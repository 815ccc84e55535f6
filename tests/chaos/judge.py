"""The judge: evidence in, verdict out. Pure, and without any idea of how MSO works inside.

It knows what was asked for, what was said on the wire and what really ran. Whose words are whose is told in account.py,
what is true in truth.py; here is what has to be there, and what must not.
"""

from collections import Counter
from collections.abc import Iterator

from tests.chaos.account import Account, accounts
from tests.chaos.evidence import Evidence
from tests.chaos.faults import Kind
from tests.chaos.truth import is_unknown, starts, untruths
from tests.chaos.verdict import Finding, Verdict, Wrong

AROUND_A_FAULT = 30.0
"""Seconds after a fault within which what it interrupted may be said again."""


def judge(evidence: Evidence, seconds: float = 0.0) -> Verdict:
    """What is to be said of one round that has come to rest."""
    known, findings = accounts(evidence)
    for account in known:
        findings += account.findings
        findings += _lost(account)
        findings += _duplicates(account, evidence)
        for model in account.run.plan.models:
            findings += untruths(account, model, evidence)
            findings += starts(account, model, evidence)
    findings += _remains(evidence)
    own = [word for word in evidence.words if word.by_mso and word.name != "Status" and not word.again]
    return Verdict(
        rounds=1,
        seconds=seconds,
        simulations=len(known),
        models=sum(len(account.run.plan.models) for account in known),
        starts=len(evidence.lives),
        messages=len(own),
        duplicates=sum(len(account.copies) for account in known),
        duplicate_ends=sum(len(account.over[1:]) for account in known),
        unknown_ends=sum(
            is_unknown(account, model, evidence) for account in known for model in account.run.plan.models
        ),
        longest_recovery=max(_recoveries(evidence), default=0.0),
        faults=Counter(fault.kind for fault in evidence.faults),
        findings=findings,
    )


def _lost(account: Account) -> Iterator[Finding]:
    run = account.run
    if account.rejected:
        yield Finding(Wrong.REJECTED, f"DeployModelsRejected came {len(account.rejected)} times", run)
    if missing := account.missing:
        yield Finding(Wrong.LOST, f"no ModelHasTerminated of {', '.join(missing)}", run)
    if not account.over:
        yield Finding(Wrong.LOST, "no AllModelsHaveTerminated", run)
    if not account.missing and account.over and run.ended is None:
        yield Finding(Wrong.LOST, "all was told, but its orchestrator did not hear it", run)
    # Its models announce themselves and then wait; where one of them could not be started ModelsReady cannot be.
    all_announced = all(model.id in account.announced for model in run.plan.models)
    if run.plan.waits_for_models_ready and all_announced and not account.ready:
        yield Finding(Wrong.LOST, "no ModelsReady, though every model announced itself", run)


def _duplicates(account: Account, evidence: Evidence) -> Iterator[Finding]:
    for copy in (*account.copies, *account.over[1:]):
        if not any(fault.began <= copy.at <= fault.ended + AROUND_A_FAULT for fault in evidence.faults):
            about = f"{copy.name} {copy.model}".rstrip()
            yield Finding(Wrong.DUPLICATE, f"{about} came again, and no fault was near", account.run)


def _remains(evidence: Evidence) -> Iterator[Finding]:
    for life in evidence.lives:
        if life.run is None:
            yield Finding(Wrong.UNASKED, f"{life.model} of {life.simulation} was started ({life.where})")
        elif life.run not in evidence.runs:
            yield Finding(Wrong.STARTED_TWICE, f"{life.model} was started long after its run ({life.where})", life.run)
        if life.ended is None and life.run and life.run.ended is not None:
            yield Finding(Wrong.LEFT, f"{life.model} still lives ({life.where})", life.run)
    for what in evidence.left:
        yield Finding(Wrong.LEFT, what)
    for what in evidence.touched:
        yield Finding(Wrong.TOUCHED, what)


def _recoveries(evidence: Evidence) -> Iterator[float]:
    """From the end of each fault to the first sign of MSO, if there was work and no other fault came between."""
    signs = sorted(
        [word.at for word in evidence.words if word.by_mso and not word.again] + [life.began for life in evidence.lives]
    )
    faults = [fault for fault in evidence.faults if fault.kind is not Kind.MSO_ENDED]
    for fault in faults:
        after = fault.ended
        sign = next((sign for sign in signs if sign > after), None)
        at_work = any(run.asked < after and (run.ended is None or run.ended > after) for run in evidence.runs)
        if sign is None or not at_work:
            continue
        if not any(other is not fault and other.began < sign and other.ended > after for other in faults):
            yield sign - after
