"""A model on strings: writes down its pid and environment, then does what is written into its FIFO."""

import os
import sys
from pathlib import Path

with Path("pids").open("a") as pids:
    pids.write(f"{os.getpid()}\n")
Path("environment").write_bytes(b"".join(name + b"=" + value + b"\0" for name, value in os.environb.items()))
os.mkfifo("strings.new")
strings = os.open("strings.new", os.O_RDWR)  # also a writer: never at its end
Path("strings.new").rename("strings")

with open(strings) as commands:  # noqa: PTH123 - a descriptor has no path
    for command in commands:
        match command.split():
            case ["say", text]:
                os.write(1, bytes.fromhex(text))
            case ["exit", code]:
                sys.exit(int(code))
            case _:
                sys.exit(f"unknown command: {command}")
