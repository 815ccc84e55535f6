"""How values look to people: one line each, in their own time, and nothing that would act upon their terminal. Pure."""

from datetime import datetime, timedelta


def one_line(value: object, length: int = 80) -> str:
    """A value in a cell of a table; `-` for none. What came from outside is cut, and cannot control a terminal."""
    match value:
        case None | "":
            return "-"
        case datetime():
            return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        case timedelta():
            return age(value)
        case _:
            text = printable(" ".join(str(value).split()))
            return (text if len(text) <= length else f"{text[: length - 3]}...") or "-"


def printable(text: str) -> str:
    """The text, with what is no character to be seen as its number: an id may hold a command of a terminal."""
    return "".join(one if one.isprintable() else f"\\x{ord(one):02x}" for one in text)


def age(span: timedelta) -> str:
    """How long, in its two largest units: `12s`, `3m05s`, `2h10m`, `5d03h`. Of a clock that went back: `0s`."""
    seconds = max(0, int(span.total_seconds()))
    if seconds < 60:
        return f"{seconds}s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes}m{seconds:02}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h{minutes:02}m"
    days, hours = divmod(hours, 24)
    return f"{days}d{hours:02}h"


def listed(names: list[str], most: int = 10) -> str:
    """Names in a sentence, of many only the first."""
    shown = ", ".join(one_line(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
