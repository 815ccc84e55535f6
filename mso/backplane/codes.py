"""Exit codes in words. Pure."""

import signal


def in_words(code: int) -> str:
    """As a shell counts them: above 128 a signal ended it."""
    if code > 128:
        try:
            return f"killed by signal {code - 128} ({signal.Signals(code - 128).name})"
        except ValueError:
            pass  # the program chose this number itself
    return f"exit code {code}"
