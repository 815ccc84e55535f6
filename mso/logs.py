"""The log: events and their keys, for people on a terminal or as JSON for machines; no payload, no secret goes in."""

import logging
import sys
from datetime import datetime
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger


def configure(level: str, style: str, stream: TextIO | None = None) -> None:
    """Set the log up for this process, on stderr unless another stream is given.

    `style` is `console`, `json`, or `auto`: console on a terminal, else json.
    """
    stream = stream or sys.stderr
    console = style == "console" or (style == "auto" and stream.isatty())
    number = logging.getLevelNamesMapping()[level]
    # One for all: the factory that structlog brings makes a new one for each event, at the price of the event itself.
    printer = structlog.PrintLogger(stream)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            *(_for_people(colors=stream.isatty()) if console else _for_machines()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: printer,
    )
    # What libraries have to say goes the same way; below WARNING it is their business, not an operator's.
    logging.basicConfig(
        level=max(number, logging.WARNING),
        stream=stream,
        format="%(levelname)s %(name)s: %(message)s",
        force=True,
    )


def _for_machines() -> list[Processor]:
    return [
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(ensure_ascii=False),
    ]


def _for_people(*, colors: bool) -> list[Processor]:
    render = structlog.dev.ConsoleRenderer(
        colors=colors,
        pad_event_to=24,
        sort_keys=False,
        exception_formatter=structlog.dev.plain_traceback,  # the default one shows local variables: payloads, passwords
    )

    def stamp(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event["timestamp"] = datetime.now().astimezone().strftime("%H:%M:%S.%f")[:-3]
        return event

    def render_with_lines(logger: WrappedLogger, method: str, event: EventDict) -> str:
        """What a model wrote stands below the event, line by line, as it would in its own log."""
        lines = event.pop("last_lines", ())
        return "\n".join([str(render(logger, method, event)), *(f"{'':13}| {line}" for line in lines)])

    return [stamp, render_with_lines]
