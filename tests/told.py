"""What a simulation orchestrator was told of one run, and that it was told as promised."""

from collections.abc import Sequence

from mso.protocol.messages.lifecycle_pb2 import ModelHasTerminated
from tests.peer import Heard


def told(heard: Sequence[Heard]) -> dict[str, ModelHasTerminated]:
    """How each model ended: each was told once, ModelsReady at most once and first, AllModelsHaveTerminated last."""
    names = [message.name for message in heard]
    ends = {message.model: message.end for message in heard if message.model}
    assert len(ends) == names.count("ModelHasTerminated"), f"told twice: {[message.topic for message in heard]}"
    assert names.count("AllModelsHaveTerminated") == 1
    assert names[-1] == "AllModelsHaveTerminated"
    assert "ModelsReady" not in names[1:]
    return ends


def reasons(heard: Sequence[Heard]) -> dict[str, tuple[str, int]]:
    """Reason and exit code by model; asked for in version 2."""
    return {model: (end.reason, end.exitCode) for model, end in told(heard).items()}
