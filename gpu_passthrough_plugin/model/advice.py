"""What a finding advises to do, and how sure it is."""

from __future__ import annotations

import enum
import re
from typing import NamedTuple


class Confidence(enum.StrEnum):
    """How sure a finding is.

    Certain was read from the host, likely has evidence, possible could not
    be checked or is no fault by itself.
    """

    CERTAIN = "certain"
    LIKELY = "likely"
    POSSIBLE = "possible"


class Fix(NamedTuple):
    """What to do about a finding.

    :param commands: those in the text that can be run as they stand; the
        text says which of them, and what else to do.
    :param lines: those in the text that go into a file of modprobe.d.
    """

    text: str
    commands: tuple[str, ...]
    lines: tuple[str, ...]


def fix(text: str) -> Fix | None:
    """Return the fix that a text advises; None for an empty text.

    Commands and lines are what the text quotes.  One that has an ellipsis,
    or a word in capitals to put something in place of, is not complete.
    """
    quoted = tuple(
        dict.fromkeys(
            words
            for words in _QUOTED.findall(text)
            if not _INCOMPLETE.search(words)
        )
    )
    if not text:
        return None
    return Fix(
        text,
        tuple(q for q in quoted if q.split()[0] in _PROGRAMS),
        tuple(q for q in quoted if q.split()[0] in _DIRECTIVES),
    )


# Several words that a text quotes.
_QUOTED = re.compile(r"(?<!\w)'([^' ]+ [^']+)'(?!\w)")
_INCOMPLETE = re.compile(r"…|(?<![\w=/.-])[A-Z]+(?![\w=/.-])")
# Those that fixes advise to run.
_PROGRAMS = frozenset(
    {
        "driverctl",
        "echo",
        "gpu-passthrough",
        "grub2-mkconfig",
        "modprobe",
        "rpm-ostree",
    }
)
# Source: modprobe.d(5).
_DIRECTIVES = frozenset(
    {"alias", "blacklist", "install", "options", "remove", "softdep"}
)
