"""The entries of message_definitions/golden.txt: bytes of the messages, which Java's tests read as well."""

import re
from dataclasses import dataclass, field
from pathlib import Path

PATH = Path(__file__).parents[2] / "message_definitions" / "golden.txt"
HEADING = re.compile(r"\[(\w+)\] version ([12]): (.+)")


@dataclass(slots=True)
class Entry:
    """One message: what it says, as text and as bytes."""

    message: str
    version: int
    tells: str
    fields: str = ""
    """In the text format of protobuf."""
    digits: str = field(default="", repr=False)
    grown: bool = False
    """The bytes hold more than the fields."""

    @property
    def wire(self) -> bytes:
        return bytes.fromhex(self.digits)

    def __str__(self) -> str:
        return f"{self.message}: {self.tells}"


def read(path: Path = PATH) -> list[Entry]:
    """All entries, in the order in which they stand there."""
    entries: list[Entry] = []
    for line in path.read_text().split("\n"):
        if heading := HEADING.fullmatch(line):
            entries.append(Entry(heading[1], int(heading[2]), heading[3]))
        elif line.startswith(("=", "+")):
            entries[-1].digits += line[1:]
            entries[-1].grown |= line[0] == "+"
        elif line and not line.startswith("#"):
            entries[-1].fields += f"{line}\n"
    return entries
