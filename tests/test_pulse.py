"""The pulse of the loops."""

from types import SimpleNamespace

import pytest

from mso import pulse
from mso.pulse import STALLED_AFTER_SECONDS, Pulse
from tests.builders import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pulse, "time", SimpleNamespace(monotonic=lambda: clock().timestamp()))
    return clock


def test_a_loop_that_waits_for_work_is_well(clock: Clock) -> None:
    """Between two steps a loop may wait for ever."""
    beat = Pulse()
    with beat.step("send"):
        pass
    clock.move(10 * STALLED_AFTER_SECONDS)
    assert beat.stalled() == ()


def test_a_loop_that_is_long_at_one_step_is_stalled(clock: Clock) -> None:
    """A step that takes longer than any may is named, and only that."""
    beat = Pulse()
    with beat.step("watch-models"):
        clock.move(STALLED_AFTER_SECONDS - 1)
        assert beat.stalled() == ()
        clock.move(2)
        with beat.step("take-orders"):
            assert beat.stalled() == ("watch-models",)
    assert beat.stalled() == ()


def test_each_step_begins_anew(clock: Clock) -> None:
    """Many short steps are no long one."""
    beat = Pulse()
    for _ in range(5):
        with beat.step("send"):
            clock.move(STALLED_AFTER_SECONDS / 2)
            assert beat.stalled() == ()


def test_a_step_that_raises_is_over(clock: Clock) -> None:
    """What ended in an error no longer holds anything up."""
    beat = Pulse()
    with pytest.raises(LookupError), beat.step("send"):
        raise LookupError
    clock.move(2 * STALLED_AFTER_SECONDS)
    assert beat.stalled() == ()


def test_a_loop_may_be_at_several_steps_at_once(clock: Clock) -> None:
    """One long step is enough to name the loop, once, whatever the others of it do."""
    beat = Pulse()
    with beat.step("deploy-models"), beat.step("deploy-models"):
        clock.move(STALLED_AFTER_SECONDS + 1)
        with beat.step("deploy-models"):
            pass
        assert beat.stalled() == ("deploy-models",)
    assert beat.stalled() == ()
