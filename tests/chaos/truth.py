"""Whether what was told of a model is what happened to it: docs/protocol.md, as an outsider reads it. Pure.

What happened is what the process itself said before it ended, or that it was killed without a word. Other words than
these are true only where somebody made it end, or where nobody can know; who may have done so is told by `Reasons`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mso.protocol.messages import lifecycle_pb2
from tests.chaos.account import Account, has_failed
from tests.chaos.evidence import NO_EXIT_CODE, REMOVED, Evidence, Life, Word
from tests.chaos.faults import Kind
from tests.chaos.plan import NO_IMAGE, Hand, ModelPlan
from tests.chaos.verdict import Finding, Wrong

SLACK = 2.0
"""Seconds by which a time limit may be taken too early: nobody here knows to the instant since when it runs."""
A_MOMENT = 1.0
"""Seconds by which our own threads may see late what they see."""
COMING_BACK = 10.0
"""Seconds that MSO may take, after it was killed, until it looks at what runs."""
GIVEN_UP = 15.0
"""Seconds that a kubelet may take to notice that a pod is not wanted any more."""
STARTING = 40.0
"""Seconds that a start is tried while the disk is full, and a bit."""


@dataclass(frozen=True, slots=True)
class Reasons:
    """What may have brought the end of a model about, other than itself."""

    stopped: bool
    ready_timeout: bool
    max_runtime: bool
    hand: Hand | None
    disk: bool

    @classmethod
    def of(cls, account: Account, model: ModelPlan, told: Word, lives: Sequence[Life], evidence: Evidence) -> "Reasons":
        run = account.run
        waited = told.at - run.asked + SLACK
        others = (end[0] for name, end in account.ends.items() if end and name != model.id)
        tried = lives[0].began if lives else run.asked
        announced = account.announced.get(model.id)
        in_time = announced is not None and announced.at + SLACK < run.asked + model.ready_timeout
        return cls(
            stopped=(run.stopped is not None and told.at >= run.stopped)
            or (run.plan.request.stop_all and any(has_failed(end) and end.end.reason != "Stopped" for end in others)),
            ready_timeout=0 < model.ready_timeout <= waited and not in_time,
            max_runtime=0 < model.max_runtime <= waited,
            hand=model.fate.hand if any(life.hand is not None for life in lives) else None,
            disk=any(
                fault.kind is Kind.DISK_FULL and fault.began <= told.at and fault.ended >= tried - STARTING
                for fault in evidence.faults
            ),
        )

    @property
    def removed(self) -> bool:
        """Whether somebody else ended it."""
        return self.stopped or self.ready_timeout or self.max_runtime or self.hand is not None

    def allow(self, word: str, *, started: bool, model: ModelPlan) -> bool:
        """Whether a `reason` of version 2 fits."""
        match word:
            case "Completed" | "Error":
                return True  # what matters of these is the exit code
            case "Stopped":
                return self.stopped
            case "ReadyTimeout":
                return self.ready_timeout
            case "RuntimeExceeded":
                return self.max_runtime
            case "ImagePullFailed":
                return model.image == NO_IMAGE
            case "DeployFailed":
                return self.disk and not started
            case "PodDeleted":
                return self.disk or self.hand is not None
            case "Evicted":
                return self.hand is Hand.EVICTS
            case _:
                return False


def untruths(account: Account, model: ModelPlan, evidence: Evidence) -> Iterator[Finding]:
    """All that is wrong with what was told of a model, and with what was done to it."""
    lives = evidence.lives_of(account.run, model)
    told = account.ends[model.id]
    if not told:
        return
    end, reasons = told[0].end, Reasons.of(account, model, told[0], lives, evidence)
    said = [(copy.end.status, copy.end.exitCode, copy.end.reason) for copy in told]
    if len(set(said)) > 1:
        yield Finding(Wrong.UNTRUE, f"{model.id} is told in different ways: {said}", account.run)
    if complaint := _form(account, end, told[0].payload):
        yield Finding(Wrong.UNTRUE, f"{model.id}: {complaint}", account.run)
    if account.run.plan.request.version == 2 and not reasons.allow(
        end.reason, started=len(lives) >= end.attempt, model=model
    ):
        yield Finding(Wrong.UNTRUE, f"{model.id}: {end.reason} does not fit: {end.message}", account.run)
    unseen = _may_be_unseen(told[0], lives, reasons, evidence)
    yield from _as_it_ended(account, model, told[0], lives, reasons, unseen=unseen)
    known = [life for life in lives if not _was_hidden(life, evidence)] or lives[-1:]
    yield from _tries(account, model, end, known, reasons)


def _form(account: Account, end: lifecycle_pb2.ModelHasTerminated, payload: bytes) -> str:
    if account.run.plan.request.version == 1:
        plain = lifecycle_pb2.ModelHasTerminated(status=end.status, exitCode=end.exitCode)
        if plain.SerializeToString() != payload:
            return "has more than the bytes of version 1"
    if (end.status == lifecycle_pb2.FAILED) != bool(end.exitCode):
        return f"status {end.status} with exit code {end.exitCode}"
    return ""


def _may_be_unseen(told: Word, lives: Sequence[Life], reasons: Reasons, evidence: Evidence) -> bool:
    """Whether a pod was removed before MSO saw that it had ended by itself.

    A kubelet tells late that a container has ended. In a run that is being stopped the pod is removed meanwhile; if MSO
    is down when the last word about it comes, nobody hears that.
    """
    since = lives[-1].ended if lives else None
    if since is None or not reasons.stopped or not evidence.pods:
        return False
    return any(
        fault.kind.lane in ("mso", "api", "database") and fault.began <= told.at and fault.ended >= since
        for fault in evidence.faults
    )


def _as_it_ended(
    account: Account, model: ModelPlan, told: Word, lives: Sequence[Life], reasons: Reasons, *, unseen: bool
) -> Iterator[Finding]:
    code = told.end.exitCode
    last = max((life for life in lives), key=lambda life: life.began, default=None)
    if last is None:
        if model.image != NO_IMAGE and not (reasons.removed or reasons.disk):
            yield Finding(Wrong.NOT_TRIED, f"{model.id} was never started: {_words(told)}", account.run)
        elif code not in REMOVED:
            yield Finding(Wrong.UNTRUE, f"{model.id} was never started, and is told as {_words(told)}", account.run)
        return
    by_itself = last.said is not None and last.termed is None
    happened = _happened(last)
    if last.ended is None or last.ended > told.at + A_MOMENT:
        if not reasons.removed or code not in REMOVED:
            yield Finding(Wrong.UNTRUE, f"{model.id} is told as {_words(told)} while it lives", account.run)
    elif by_itself:
        true = {exit_code(last.said)} | (REMOVED if reasons.disk or reasons.hand else frozenset())
        if last.said != 0 and reasons.removed:
            true |= REMOVED
        if unseen:
            true |= {NO_EXIT_CODE}
        if code not in true:
            yield Finding(Wrong.UNTRUE, f"{model.id} {happened}, and is told as {_words(told)}", account.run)
    elif not reasons.removed:
        yield Finding(Wrong.HARMED, f"{model.id} {happened}, and is told as {_words(told)}", account.run)
    elif code not in REMOVED and not (code == 0 and last.said == 0 and reasons.hand):
        yield Finding(Wrong.UNTRUE, f"{model.id} was made to end, and is told as {_words(told)}", account.run)


def _tries(
    account: Account,
    model: ModelPlan,
    end: lifecycle_pb2.ModelHasTerminated,
    lives: Sequence[Life],
    reasons: Reasons,
) -> Iterator[Finding]:
    tries = 1 + model.retries
    excused = reasons.removed or reasons.disk or model.image == NO_IMAGE
    if has_not_failed := end.status == lifecycle_pb2.SUCCESSFULL:
        excused = True
    if not excused and 0 < len(lives) < tries:
        yield Finding(Wrong.NOT_TRIED, f"{model.id} was given up after {len(lives)} of {tries} attempts", account.run)
    if account.run.plan.request.version == 2 and not len(lives) <= end.attempt <= tries:
        text = f"{model.id} is told as attempt {end.attempt} of {tries}, and was started {len(lives)} times"
        yield Finding(Wrong.UNTRUE, text, account.run)
    if has_not_failed and not lives:
        yield Finding(Wrong.UNTRUE, f"{model.id} is told to have ended well, and never ran", account.run)


def starts(account: Account, model: ModelPlan, evidence: Evidence) -> Iterator[Finding]:
    """Each attempt is one process at most, and the next one only comes when that before has failed."""
    lives, pods = evidence.lives_of(account.run, model), evidence.pods_of(account.run, model)
    lives = [life for life in lives if not _was_hidden(life, evidence)]
    told = account.ends[model.id]
    if len(pods) > 1 + model.retries:
        yield Finding(Wrong.STARTED_TWICE, f"{model.id} has had {len(pods)} pods", account.run)
    if len(lives) > 1 + model.retries:
        text = f"{model.id} was started {len(lives)} times: {', '.join(life.where for life in lives)}"
        yield Finding(Wrong.STARTED_TWICE, text, account.run)
        return
    for earlier, later in pairwise(lives):
        if earlier.ended is None or earlier.ended > later.began + A_MOMENT:
            yield Finding(Wrong.STARTED_TWICE, f"{model.id} was started while it lived", account.run)
        elif earlier.said == 0 and not _nobody_could_know(earlier, evidence):
            yield Finding(Wrong.STARTED_TWICE, f"{model.id} was started after it had ended well", account.run)
    # A pod that is given up may be on its way into a container, and is removed only then.
    patience = GIVEN_UP if evidence.pods and told and told[0].end.exitCode in REMOVED and len(lives) == 1 else A_MOMENT
    if told and lives and lives[-1].began > told[0].at + patience:
        yield Finding(Wrong.STARTED_TWICE, f"{model.id} was started after its end had been told", account.run)


def _was_hidden(life: Life, evidence: Evidence) -> bool:
    """Whether it began and somebody deleted all trace of it while MSO was down, which had been about to start it."""
    return life.hand is not None and any(
        fault.kind in (Kind.MSO_KILL, Kind.MSO_ENDED)
        and fault.began <= life.began + A_MOMENT
        and (life.ended or life.hand) <= fault.ended + COMING_BACK
        for fault in evidence.faults
    )


def _nobody_could_know(life: Life, evidence: Evidence) -> bool:
    """Whether there was no room for its exit code, nor in the ledger for what a living MSO saw of it."""
    return life.ended is not None and any(
        fault.kind is Kind.DISK_FULL and fault.began <= life.ended <= fault.ended + A_MOMENT
        for fault in evidence.faults
    )


def is_unknown(account: Account, model: ModelPlan, evidence: Evidence) -> bool:
    """Whether a model that ended by itself is told as one of which nobody knows how."""
    told, lives = account.ends[model.id], evidence.lives_of(account.run, model)
    if not told or not lives or lives[-1].said is None or lives[-1].termed is not None:
        return False
    return told[0].end.exitCode in REMOVED - {exit_code(lives[-1].said)}


def exit_code(said: int | None) -> int:
    if said is None:
        return NO_EXIT_CODE
    return said if said >= 0 else 128 - said


def _happened(life: Life) -> str:
    if life.said is None:
        return "was killed without a word"
    if life.termed is not None:
        return f"ended with {life.said} because of SIGTERM"
    return f"ended with {exit_code(life.said)}"


def _words(told: Word) -> str:
    end = told.end
    status = lifecycle_pb2.TerminationStatus.Name(end.status)
    return f"{status} {end.exitCode} {end.reason}".rstrip()
