"""Clocks: how far that of where models run is from ours, as far as somebody who asks it the time can tell. Pure."""

from datetime import datetime, timedelta

from mso.checkup import Finding, ok, warning, wrong
from mso.wording import age

CLOCK = "clock"
WARNING = timedelta(seconds=2)
"""Clocks that somebody sets are closer than this. MSO compares none of them, but people compare times."""
WRONG = timedelta(seconds=30)
"""The times that it reports (of the node) and keeps (its own) no longer fit together, and logs go too early or late."""

_ADVICE = "let both be set by NTP: timedatectl"


def judge_clock(
    whose: str, sent: datetime, told: datetime, received: datetime, cut_off: timedelta = timedelta(0)
) -> Finding:
    """How far the two are apart at least: `told` is of some time between the other two, less what is cut off of it."""
    ahead, behind = told - received, sent - (told + cut_off)
    apart = max(ahead, behind, timedelta(0))
    which = "ahead of" if ahead > behind else "behind"
    what = f"the clock of the {whose} is at least {age(apart)} {which} that of this machine"
    if apart > WRONG:
        return wrong(CLOCK, what, _ADVICE)
    if apart > WARNING:
        return warning(CLOCK, what, _ADVICE)
    return ok(CLOCK, f"that of the {whose} and that of this machine agree")
