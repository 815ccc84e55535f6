"""Was what this orchestrator heard what the scenario expects, and what the protocol promises? Pure.

The promises are those of docs/protocol.md: one ModelHasTerminated a model, ModelsReady at most once and never after a
failure, AllModelsHaveTerminated once and last, nothing retained, and to a peer of version 1 not a byte of version 2.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from fake_simulator.scenario import Scenario, ScenarioModel, State
from fake_simulator.wire import Received


def judge(
    scenario: Scenario, received: Sequence[Received], announced: Collection[str] = (), steps_done: int = 0
) -> tuple[str, ...]:
    """The differences between what was heard, in order, and what had to be; empty if and only if all is well.

    `announced` are the models that were overheard to announce ReadyForProcessing.
    """
    differences = [*_unfit(received)]
    rejections = [message for message in received if message.name == "DeployModelsRejected"]
    if rejections or scenario.rejected:
        differences += _rejection(scenario, received, rejections)
    else:
        differences += _models_ready(scenario, received)
        differences += _terminations(scenario, received, announced)
        differences += _all_have_terminated(received)
        differences += _complaints(scenario, received)
        if steps_done < scenario.steps:
            differences.append(f"{steps_done} of {scenario.steps} steps were calculated")
    return tuple(differences)


def _unfit(received: Sequence[Received]) -> Iterator[str]:
    for message in received:
        if message.problem:
            yield f"{_what(message)} {message.problem}"
        if message.retained:
            yield f"{_what(message)} was retained"


def _rejection(scenario: Scenario, received: Sequence[Received], rejections: Sequence[Received]) -> Iterator[str]:
    if not scenario.rejected:
        for message in rejections:
            yield f"the request was rejected: {message.text}"
        return
    if len(rejections) != 1:
        yield f"DeployModelsRejected {_came(len(rejections))}, expected once"
    for message in received:
        if message.name != "DeployModelsRejected":
            yield f"{_what(message)} came, although the request had to be rejected"


def _models_ready(scenario: Scenario, received: Sequence[Received]) -> Iterator[str]:
    places = [place for place, message in enumerate(received) if message.name == "ModelsReady"]
    if len(places) > 1:
        yield f"ModelsReady {_came(len(places))}, expected once at most"
    if scenario.models_ready is False and places:
        yield "ModelsReady came, expected never"
    if scenario.models_ready is True and not places:
        yield "ModelsReady never came"
    for place in places[:1]:
        for message in received[:place]:
            if message.termination and message.termination.state is State.FAILED:
                yield f"ModelsReady came after {message.model} had FAILED"
        # The model that was ready last can only have ended after ModelsReady.
        if place and not any(message.termination for message in received[place:]):
            yield "ModelsReady came after the last ModelHasTerminated"


def _terminations(scenario: Scenario, received: Sequence[Received], announced: Collection[str]) -> Iterator[str]:
    told = [message for message in received if message.name == "ModelHasTerminated"]
    counts = Counter(message.model for message in told)
    for stranger in sorted(counts.keys() - set(scenario.model_ids)):
        yield f"{stranger}: ModelHasTerminated came, and nobody asked for this model"
    for model in scenario.models:
        if counts[model.id] != 1:
            yield f"{model.id}: ModelHasTerminated {_came(counts[model.id])}, expected once"
        for message in told:
            if message.model == model.id:
                yield from _termination(scenario, model, message)
        if model.expect.ready is True and model.id not in announced:
            yield f"{model.id}: never announced ReadyForProcessing"
        if model.expect.ready is False and model.id in announced:
            yield f"{model.id}: announced ReadyForProcessing, expected never"


def _termination(scenario: Scenario, model: ScenarioModel, message: Received) -> Iterator[str]:
    expect, termination = model.expect, message.termination
    if termination is None:
        return  # it could not be read, and that has been said
    if termination.state is not expect.state:
        yield f"{model.id}: {termination.state}, expected {expect.state}"
    if expect.exit_code is not None and termination.exit_code != expect.exit_code:
        yield f"{model.id}: exit code {termination.exit_code}, expected {expect.exit_code}"
    if scenario.protocol_version == 1:
        if termination.version_2_fields:
            yield f"{model.id}: fields of version 2 in version 1: {', '.join(termination.version_2_fields)}"
        return
    if expect.reason is not None and termination.reason != expect.reason:
        yield f"{model.id}: reason {termination.reason or 'none'}, expected {expect.reason}"
    if expect.log_contains is not None and expect.log_contains not in "\n".join(termination.last_log_lines):
        yield f"{model.id}: {expect.log_contains!r} is not in its last {len(termination.last_log_lines)} log lines"


def _all_have_terminated(received: Sequence[Received]) -> Iterator[str]:
    places = [place for place, message in enumerate(received) if message.name == "AllModelsHaveTerminated"]
    if len(places) != 1:
        yield f"AllModelsHaveTerminated {_came(len(places))}, expected once"
    for message in received[places[0] + 1 :] if places else ():
        if message.name != "AllModelsHaveTerminated":
            yield f"{_what(message)} came after AllModelsHaveTerminated"


def _complaints(scenario: Scenario, received: Sequence[Received]) -> Iterator[str]:
    failing = {model.id for model in scenario.models if model.expect.state is State.FAILED}
    for message in received:
        # MSO may be told to send ErrorOccurred for a model that failed.
        if message.name == "UnhealthyModel" or (message.name == "ErrorOccurred" and message.model not in failing):
            yield f"{_what(message)} came: {message.text}"


def _what(message: Received) -> str:
    return f"{message.model}: {message.name}" if message.model else message.name


def _came(count: int) -> str:
    return {0: "never came", 1: "came once", 2: "came twice"}.get(count, f"came {count} times")
