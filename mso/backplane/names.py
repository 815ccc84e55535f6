"""Names that machines accept, made of ids that people chose: a slug to read, and a fingerprint to tell them apart."""

import hashlib
import re


def slug(text: str, length: int) -> str:
    """What is left of a text in lower-case letters, digits and single dashes; may be empty."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:length].strip("-")


def fingerprint(*parts: str, length: int = 16) -> str:
    """Hexadecimal digits that differ whenever one of the parts does, also where `A` and `a` are one name."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % len(data) + data)
    return digest.hexdigest()[:length]
