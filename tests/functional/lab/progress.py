"""What takes minutes says where it is."""

import sys
import time

_STARTED = time.monotonic()


def say(text: str) -> None:
    """Return nothing; write ``text`` with the seconds since the start."""
    elapsed_s = time.monotonic() - _STARTED
    print(f"[{elapsed_s:4.0f} s] {text}", file=sys.stderr, flush=True)
