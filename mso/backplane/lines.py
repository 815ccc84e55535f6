"""The last lines of what a model wrote: any bytes in, text out, and never more of it than a MiB (fault L3). Pure."""

TAIL_BYTES = 1 << 20


def last_lines(data: bytes, lines: int) -> tuple[str, ...]:
    """The last lines, oldest first, without their line ends; what is no utf-8 is replaced."""
    data = data[-TAIL_BYTES:].removesuffix(b"\n")
    if not data or lines <= 0:
        return ()
    last = data.rsplit(b"\n", lines)[-lines:]
    return tuple(line.removesuffix(b"\r").decode("utf-8", "replace") for line in last)
