"""What people get to read: a line for each round, a table at the end, and of what went wrong all that is known."""

from collections.abc import Iterator, Sequence

from tests.chaos.evidence import Evidence, Life, Played, Word
from tests.chaos.faults import Kind
from tests.chaos.rounds import Round, Terms
from tests.chaos.truth import exit_code
from tests.chaos.verdict import Finding, Verdict, Wrong

TAIL = 40
"""Words of a simulation that are shown."""
FINDINGS = 8
"""Runs that are shown in full for one round."""


def line(one: Round) -> str:
    """A round, in one line."""
    verdict = one.verdict
    ended = verdict.faults[Kind.MSO_ENDED]
    parts = [
        f"round {one.number}: {verdict.seconds:.0f} s",
        f"{verdict.simulations} simulations",
        f"{verdict.models} models",
        f"{verdict.faults.total() - ended} faults",
        f"{verdict.duplicates} duplicates",
        f"longest recovery {verdict.longest_recovery:.1f} s",
    ]
    if ended:
        parts.append(f"MSO ended by itself {ended} times")
    wrong = {wrong: count for wrong in Wrong if (count := verdict.count(wrong))}
    parts.append(", ".join(f"{count} {wrong}".upper() for wrong, count in wrong.items()) or "all as promised")
    return ", ".join(parts)


def table(verdict: Verdict) -> str:
    """The figures of a whole run."""
    rows: list[tuple[str, str]] = [
        ("rounds", f"{verdict.rounds}"),
        ("minutes", f"{verdict.seconds / 60:.1f}"),
        ("runs of simulations", f"{verdict.simulations}"),
        ("models asked for", f"{verdict.models}"),
        ("models started", f"{verdict.starts}"),
        ("messages from MSO", f"{verdict.messages}"),
        ("faults", f"{verdict.faults.total() - verdict.faults[Kind.MSO_ENDED]}"),
        *((f"  {kind}", f"{verdict.faults[kind]}") for kind in Kind if verdict.faults[kind]),
        *((f"{wrong} (must be 0)", f"{verdict.count(wrong)}") for wrong in Wrong),
        ("duplicates of ModelHasTerminated", f"{verdict.duplicates}"),
        ("duplicates of AllModelsHaveTerminated", f"{verdict.duplicate_ends}"),
        ("ends that nobody could know", f"{verdict.unknown_ends}"),
        ("longest recovery", f"{verdict.longest_recovery:.1f} s"),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value:>8}" for name, value in rows)


def command(terms: Terms, number: int, backplane: str) -> str:
    """What plays one round again."""
    words = ["ci/chaos.sh", "--seed", f"{terms.seed}", "--round", f"{number}", "--hostility", f"{terms.hostility:g}"]
    words += ["--without", ",".join(sorted(terms.without))] if terms.without else []
    return " ".join([*words, "--backplane", backplane])


def account_of_failure(one: Round, terms: Terms, again: str, logs: Sequence[object]) -> str:
    """All that helps to find out what went wrong in a round."""
    return "\n".join(_failure(one, terms, again, logs))


def _failure(one: Round, terms: Terms, again: str, logs: Sequence[object]) -> Iterator[str]:
    yield f"round {one.number} of seed {terms.seed}:"
    for finding in one.verdict.findings:
        yield f"  {finding}"
    yield "the faults (seconds of the round):"
    for fault in sorted(one.evidence.faults, key=lambda fault: fault.began):
        yield f"  {fault.began - one.began:7.2f} to {fault.ended - one.began:7.2f}  {fault.kind} {fault.note}".rstrip()
    shown: list[Played] = []
    for finding in one.verdict.findings:
        if finding.run and finding.run not in shown and len(shown) < FINDINGS:
            shown.append(finding.run)
            yield from _story(one, finding)
    yield f"the log of MSO: {', '.join(map(str, logs))}"
    yield f"to play it again: {again}"


def _story(one: Round, finding: Finding) -> Iterator[str]:
    run = finding.run
    assert run
    plan = run.plan
    yield f"run {plan.label} of {run.simulation!r}, {plan.manner}, version {plan.request.version}:"
    yield f"  {plan.request}, SimulationDone after {plan.stops or 'nothing'}"
    for model in plan.models:
        yield f"  {model}"
    events = [
        *((life.began, f"started {_life(life)}") for life in one.evidence.lives if life.run is run),
        *((life.ended, f"ended   {_life(life)}") for life in one.evidence.lives if life.run is run and life.ended),
        *((word.at, _word(word)) for word in _tail(one.evidence, run)),
    ]
    for at, text in sorted(events):
        yield f"  {at - one.began:7.2f} {text}"


def _tail(evidence: Evidence, run: Played) -> list[Word]:
    words = [word for word in evidence.words if word.simulation == run.simulation and word.at >= run.asked]
    after = [other.asked for other in evidence.runs if other.simulation == run.simulation and other.asked > run.asked]
    return [word for word in words if not after or word.at <= min(after) + 2][-TAIL:]


def _word(word: Word) -> str:
    how = " (delivered again)" if word.again else " (DUP)" if word.redelivered else ""
    if word.name == "ModelHasTerminated":
        end = word.end
        return f"ModelHasTerminated {word.model}: {end.exitCode} {end.reason} {end.message[:80]!r}{how}"
    return f"{word.name} {word.model}{how}"


def _life(life: Life) -> str:
    said = "" if life.said is None else f", said {exit_code(life.said)}"
    return f"{life.model} #{life.number} {life.where}{said}{', SIGTERM' if life.termed else ''}"
