"""What every backplane does: the sentences of mso/backplane/__init__.py, one test each."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from mso.backplane import BackplaneError, DeployError, Mark
from mso.model import (
    EnvironmentVariable,
    Failed,
    FailurePolicy,
    Model,
    ModelId,
    ModelKey,
    ModelSpec,
    Reason,
    Request,
    Resources,
    SimulationId,
    SimulatorName,
    Succeeded,
)
from tests.contract.stages import PUPPET, UNKNOWN, Stage
from tests.contract.watching import watching

pytestmark = pytest.mark.process


def a_model(
    name: str = "heat-pump",
    *,
    simulation: str = "sim02-abc",
    run: int = 1,
    attempt: int = 1,
    image: str = PUPPET,
    environment: dict[str, str] | None = None,
) -> Model:
    key = ModelKey(SimulationId(simulation), run, ModelId(name))
    now = datetime.now(UTC)
    return Model(
        key=key,
        spec=ModelSpec(
            model=key.model,
            image=image,
            environment=tuple(EnvironmentVariable(*pair) for pair in (environment or {"MODEL_ID": name}).items()),
            resources=Resources(cpu_request="1m"),
            ready_timeout=timedelta(seconds=30.000001),
            retries=3,
        ),
        request=Request(
            simulator=SimulatorName("dots-so"),
            simulation=key.simulation,
            simulator_id="DOTS-so",
            protocol_version=2,
            keep_logs=timedelta(hours=0.1),
            failure_policy=FailurePolicy.STOP_ALL,
            request_id="42",
            digest="abc",
        ),
        created_at=now,
        since=now,
        attempt=attempt,
    )


async def test_a_deployed_attempt_runs_and_is_listed_as_living(stage: Stage) -> None:
    """From the return of deploy on a listing shows the attempt."""
    model = a_model()
    async with stage.open() as backplane, watching(backplane) as watch:
        assert await watch.listing() == {}
        await backplane.deploy(model)
        listing = await watch.listing()
        assert {attempt: said.end for attempt, said in listing.items()} == {model.current: None}
        assert await stage.started(model.current) == 1


async def test_an_attempt_deployed_twice_is_one_process(stage: Stage) -> None:
    """The same attempt twice is one process: at once, one after the other, and by a later instance."""
    model = a_model()
    async with stage.open() as backplane:
        await asyncio.gather(*(backplane.deploy(model) for _ in range(5)))
        await backplane.deploy(model)
    async with stage.open() as backplane:
        await backplane.deploy(model)
        async with watching(backplane) as watch:
            assert (await watch.listing()).keys() == {model.current}
            await backplane.deploy(model)
    assert await stage.started(model.current) == await stage.running(model.current) == 1


async def test_deploying_an_attempt_that_has_ended_starts_nothing(stage: Stage) -> None:
    """The same attempt twice is one process, also when the first has ended."""
    model = a_model()
    async with stage.open() as backplane, watching(backplane) as watch:
        await backplane.deploy(model)
        await stage.finish(model.current, 0)
        await watch.end(model.current)
        await backplane.deploy(model)
    async with stage.open() as backplane:
        await backplane.deploy(model)
    assert await stage.started(model.current) == 1
    assert await stage.running(model.current) == 0


async def test_attempts_and_runs_are_strangers_to_each_other(stage: Stage) -> None:
    """What runs has the name of simulation, run, model and number, so an act on one meets no other."""
    models = [a_model(), a_model(attempt=2), a_model(run=2), a_model("other"), a_model(simulation="other")]
    async with stage.open() as backplane:
        for model in models:
            await backplane.deploy(model)
        assert [await stage.started(model.current) for model in models] == [1] * 5
        await backplane.remove(models[0].current)
        assert [await stage.running(model.current) for model in models] == [0, 1, 1, 1, 1]


async def test_an_unknown_image_can_never_run(stage: Stage) -> None:
    """An image that cannot be had is ImagePullFailed and named, by deploy or by the watch; nothing living is left."""
    model = a_model(image=UNKNOWN)
    async with stage.open() as backplane, watching(backplane) as watch:
        try:
            await backplane.deploy(model)
        except DeployError as refused:
            reason, message = refused.reason, str(refused)
            assert await watch.listing() == {}
        else:
            end = await watch.end(model.current)
            assert isinstance(end, Failed)
            reason, message = end.reason, end.message
        assert reason is Reason.IMAGE_PULL_FAILED
        assert UNKNOWN in message
        await backplane.remove(model.current)
        assert all(said.end is not None for said in (await watch.listing()).values())
        assert await stage.running(model.current) == 0


async def test_exit_code_zero_is_success(stage: Stage) -> None:
    """An attempt that ends by itself with 0 has succeeded, between two known times."""
    model = a_model()
    async with stage.open() as backplane, watching(backplane) as watch:
        await backplane.deploy(model)
        await stage.finish(model.current, 0)
        end = await watch.end(model.current)
    assert isinstance(end, Succeeded)
    assert end.started_at is not None
    assert end.finished_at is not None
    assert end.started_at.tzinfo is UTC
    assert abs(model.created_at - end.started_at) < timedelta(minutes=1)
    assert end.started_at <= end.finished_at


async def test_any_other_exit_code_is_failure(stage: Stage) -> None:
    """An attempt that ends with 3 has failed, and both listing and end say so."""
    model = a_model()
    async with stage.open() as backplane, watching(backplane) as watch:
        await backplane.deploy(model)
        await stage.finish(model.current, 3)
        end = await watch.end(model.current)
        assert isinstance(end, Failed)
        assert (end.exit_code, end.reason, end.message) == (3, Reason.ERROR, "exit code 3")
        assert (await watch.listing())[model.current].end == end


async def test_models_outlive_the_instance_that_deployed_them(stage: Stage) -> None:
    """Closing leaves the models alone; the next instance finds the same processes and hears how they end."""
    model = a_model()
    async with stage.open() as backplane:
        await backplane.deploy(model)
        assert await stage.started(model.current) == 1
    assert await stage.running(model.current) == 1
    async with stage.open() as backplane, watching(backplane) as watch:
        assert (await watch.listing())[model.current].end is None
        await stage.finish(model.current, 4)
        end = await watch.end(model.current)
        assert isinstance(end, Failed)
        assert end.exit_code == 4


async def test_exit_codes_of_what_ended_in_between_are_known(stage: Stage) -> None:
    """An attempt that ends while nobody looks is found with its exit code."""
    well, ill = a_model("well"), a_model("ill")
    async with stage.open() as backplane:
        for model in (well, ill):
            await backplane.deploy(model)
            assert await stage.started(model.current) == 1
    await stage.finish(well.current, 0)
    await stage.finish(ill.current, 7)
    while await stage.running(well.current) or await stage.running(ill.current):
        await asyncio.sleep(0.005)
    async with stage.open() as backplane, watching(backplane) as watch:
        assert isinstance(await watch.end(well.current), Succeeded)
        end = await watch.end(ill.current)
        assert isinstance(end, Failed)
        assert end.exit_code == 7


async def test_a_new_instance_recalls_the_model_as_it_was_asked_for(stage: Stage) -> None:
    """All that is needed to adopt an attempt is found with it: request, specification, number, and its digest."""
    model = a_model(environment={"MQTT_PASSWORD": "s3cret", "A": ""}, attempt=2)
    async with stage.open() as backplane:
        await backplane.deploy(model)
    async with stage.open() as backplane, watching(backplane) as watch:
        recollection = (await watch.listing())[model.current].recall()
    assert recollection.model == model
    assert recollection.model.spec == model.spec
    assert recollection.marks == frozenset()


async def test_marks_are_recalled_with_every_model_of_the_run(stage: Stage) -> None:
    """A mark is written on the run: each of its models brings it back, those of other runs do not."""
    first, second, stranger = a_model("first"), a_model("second"), a_model("first", run=2)
    async with stage.open() as backplane:
        for model in (first, second, stranger):
            await backplane.deploy(model)
        await backplane.mark(first.key.run_key, Mark.READY)
        await backplane.mark(first.key.run_key, Mark.STOPPING)
        await backplane.mark(first.key.run_key, Mark.READY)
    async with stage.open() as backplane, watching(backplane) as watch:
        listing = await watch.listing()
    assert listing[first.current].recall().marks == {Mark.READY, Mark.STOPPING}
    assert listing[second.current].recall().marks == {Mark.READY, Mark.STOPPING}
    assert listing[stranger.current].recall().marks == frozenset()


async def test_a_run_of_which_nothing_exists_takes_no_mark(stage: Stage) -> None:
    """A mark on nothing is no trouble, and a run that comes later does not have it."""
    model = a_model()
    async with stage.open() as backplane, watching(backplane) as watch:
        await backplane.mark(model.key.run_key, Mark.REPORTED)
        assert await watch.listing() == {}
        await backplane.deploy(model)
        assert (await watch.listing())[model.current].recall().marks == frozenset()


async def test_the_watch_lists_again_and_again(stage: Stage) -> None:
    """Every listing begins later than the one before, and says everything once more."""
    model = a_model()
    async with stage.open() as backplane, watching(backplane) as watch:
        await backplane.deploy(model)
        begins = []
        for _ in range(3):
            said, listed = await watch.raw_listing()
            assert said.keys() == listed.present == {model.current}
            begins.append(listed.began)
        assert begins == sorted(set(begins))


async def test_the_tail_is_the_last_lines_oldest_first(stage: Stage) -> None:
    """The last lines come without their line ends; one that is not ended yet counts; asking for more is fine."""
    model = a_model()
    async with stage.open() as backplane, watching(backplane) as watch:
        await backplane.deploy(model)
        await stage.say(model.current, b"one\n\ntwo\nthree\n")
        assert await backplane.tail(model.current, 2) == ("two", "three")
        assert await backplane.tail(model.current, 3) == ("", "two", "three")
        await stage.say(model.current, b"fo")
        await stage.say(model.current, b"ur")
        if stage.logs_whole_lines:
            await stage.finish(model.current, 0)
            await watch.end(model.current)
        assert await backplane.tail(model.current, 30) == ("one", "", "two", "three", "four")
        assert await backplane.tail(model.current, 0) == ()


async def test_the_tail_takes_any_bytes(stage: Stage) -> None:
    """Bytes that are no utf-8 are replaced, everything else is left as it is (fault L3)."""
    model = a_model()
    async with stage.open() as backplane:
        await backplane.deploy(model)
        await stage.say(model.current, b'{"a": "b\'c"}\n\x1b[31mr\xe9d\x1b[0m\n' + "wärme 🔥\n".encode())
        assert await backplane.tail(model.current, 3) == ('{"a": "b\'c"}', "\x1b[31mr�d\x1b[0m", "wärme 🔥")


async def test_the_tail_is_at_most_the_last_mebibyte(stage: Stage) -> None:
    """Of a line that is longer than all that is read, the end is what counts."""
    model = a_model()
    async with stage.open() as backplane:
        await backplane.deploy(model)
        await stage.say(model.current, b"x" * (1 << 20) + b"the end\n")
        (line,) = await backplane.tail(model.current, 30)
        assert line.endswith("xthe end")
        assert len(line) <= 1 << 20


async def test_an_attempt_that_wrote_nothing_has_an_empty_tail(stage: Stage) -> None:
    """No output is no error."""
    model = a_model()
    async with stage.open() as backplane:
        await backplane.deploy(model)
        assert await backplane.tail(model.current, 30) == ()


async def test_there_is_no_tail_of_what_is_not_there(stage: Stage) -> None:
    """No log is a BackplaneError that says whose (fault L2)."""
    async with stage.open() as backplane:
        with pytest.raises(BackplaneError, match="sim02-abc/1/heat-pump#1"):
            await backplane.tail(a_model().current, 30)


async def test_what_is_removed_no_longer_runs(stage: Stage) -> None:
    """When remove returns the attempt has ended; watchers hear a Failed, or miss it."""
    model, other = a_model(), a_model("other")
    async with stage.open() as backplane, watching(backplane) as watch:
        await backplane.deploy(model)
        await backplane.deploy(other)
        assert await stage.started(model.current) == await stage.started(other.current) == 1
        await backplane.remove(model.current)
        assert await stage.running(model.current) == 0
        assert await stage.running(other.current) == 1
        removed = (await watch.listing()).get(model.current)
        assert removed is None or isinstance(removed.end, Failed)


async def test_a_later_instance_can_remove_before_it_has_listed(stage: Stage) -> None:
    """Removing needs no watch."""
    model = a_model()
    async with stage.open() as backplane:
        await backplane.deploy(model)
        assert await stage.started(model.current) == 1
    async with stage.open() as backplane:
        await backplane.remove(model.current)
        assert await stage.running(model.current) == 0


async def test_removing_what_is_absent_or_has_ended_is_success(stage: Stage) -> None:
    """An end that was there before stays what it was."""
    model = a_model()
    async with stage.open() as backplane, watching(backplane) as watch:
        await backplane.remove(model.current)
        await backplane.stop_run(model.key.run_key)
        await backplane.remove_run(model.key.run_key)
        await backplane.deploy(model)
        await stage.finish(model.current, 0)
        assert isinstance(await watch.end(model.current), Succeeded)
        await backplane.remove(model.current)
        await backplane.remove(model.current)
        listed = (await watch.listing()).get(model.current)
        assert listed is None or isinstance(listed.end, Succeeded)


async def test_a_stopped_run_keeps_the_logs_of_what_had_ended(stage: Stage) -> None:
    """When stop_run returns nothing of the run lives; what had ended has its log and its end; other runs go on."""
    ended, living, stranger = a_model("ended"), a_model("living"), a_model("living", run=2)
    async with stage.open() as backplane, watching(backplane) as watch:
        for model in (ended, living, stranger):
            await backplane.deploy(model)
            assert await stage.started(model.current) == 1
        await stage.say(ended.current, b"last words\n")
        await stage.finish(ended.current, 5)
        await watch.end(ended.current)
        await backplane.stop_run(ended.key.run_key)
        stopped = await watch.end(living.current)
        assert [await stage.running(model.current) for model in (ended, living, stranger)] == [0, 0, 1]
        assert await backplane.tail(ended.current, 30) == ("last words",)
        end = (await watch.listing())[ended.current].end
        assert isinstance(end, Failed)
        assert end.exit_code == 5
        # By that it is told apart from what a removal brought about.
        assert end.finished_at is not None
        assert stopped.finished_at is None


async def test_of_a_removed_run_nothing_is_left(stage: Stage) -> None:
    """When remove_run returns neither processes nor logs nor marks are left; other runs stay; it can be used again."""
    ended, living, stranger = a_model("ended"), a_model("living"), a_model("living", run=2)
    async with stage.open() as backplane, watching(backplane) as watch:
        for model in (ended, living, stranger):
            await backplane.deploy(model)
            assert await stage.started(model.current) == 1
        await stage.finish(ended.current, 0)
        await watch.end(ended.current)
        await backplane.mark(ended.key.run_key, Mark.READY)
        await backplane.remove_run(ended.key.run_key)
        assert await stage.running(living.current) == 0
        assert (await watch.listing()).keys() == {stranger.current}
        for model in (ended, living):
            with pytest.raises(BackplaneError):
                await backplane.tail(model.current, 30)
        await backplane.remove_run(ended.key.run_key)
        await backplane.deploy(ended)
        listing = await watch.listing()
        assert listing.keys() == {stranger.current, ended.current}
        assert listing[ended.current].recall().marks == frozenset()


async def test_what_is_not_ours_is_neither_touched_nor_reported(stage: Stage) -> None:
    """Whatever does not carry our marks is left alone (fault K8)."""
    untouched = stage.plant_foreign()
    model = a_model()
    async with stage.open() as backplane, watching(backplane) as watch:
        await backplane.deploy(model)
        assert (await watch.listing()).keys() == {model.current}
        await backplane.remove_run(model.key.run_key)
        assert await watch.listing() == {}
    assert untouched()


async def test_the_environment_is_exactly_that_of_the_message(stage: Stage) -> None:
    """Nothing of one model's environment, nor of MSO's, is seen by another; `$(X)` stays as it is (fault D7)."""
    wanted = {"X": "1", "TEXT": "$(X) ${X} $X `id`", "LINES": "a\nb\n", "QUOTES": "'\"\\", "EMPTY": "", "FIRE": "é 🔥"}
    one, other = a_model("one", environment=wanted), a_model("other", environment={"ONLY": "mine"})
    async with stage.open() as backplane:
        await asyncio.gather(backplane.deploy(one), backplane.deploy(other))
        assert await stage.environment(one.current) == wanted
        assert await stage.environment(other.current) == {"ONLY": "mine"}


async def test_any_ids_make_distinct_attempts(stage: Stage) -> None:
    """Names follow from the ids, however long, alike or odd they are (fault D2)."""
    odd = [
        "A",
        "a",
        "a-b",
        "a_b",
        "-a",
        "0",
        "_",
        ".",
        "..",
        "ä",
        "🔥",
        " ",
        "x" * 256,
        "x" * 255 + "y",
        "$(id)",
        "'\n",
    ]
    models = [a_model(name, simulation=name) for name in odd] + [
        a_model("c", simulation="a-b"),
        a_model("b-c", simulation="a"),
    ]
    async with stage.open() as backplane, watching(backplane) as watch:
        await asyncio.gather(*(backplane.deploy(model) for model in models))
        wanted = {model.current for model in models}
        listing = await watch.listing()
        assert listing.keys() == wanted
        assert {said.recall().model.key for said in listing.values()} == {attempt.key for attempt in wanted}
        await asyncio.gather(*(backplane.remove_run(model.key.run_key) for model in models))
        assert await watch.listing() == {}


async def test_a_backplane_in_order_has_no_complaints(stage: Stage) -> None:
    """Health is empty when all is well, before and after a listing."""
    async with stage.open() as backplane, watching(backplane) as watch:
        assert await backplane.health() == ()
        await watch.listing()
        assert await backplane.health() == ()
