"""How much is read of a recording or report, which anybody may have sent.

A host of ten thousand functions and a full log stay below each limit.  What
is over one is refused with a message that names it, so that no file costs
more than seconds and some hundred megabytes.
"""

from __future__ import annotations

from typing import Final

MAX_BYTES: Final = 32 << 20
"""Of a recording, and of all parts of a report when unpacked."""
MAX_LINES: Final = 400_000
"""Of a recording."""
MAX_TEXT_BYTES: Final = 128 << 10
"""Of one file of the boot configuration, or other text with a reader."""
MAX_TEXTS_BYTES: Final = 512 << 10
"""Of all these files of one host."""
MAX_CMDLINE_BYTES: Final = 16 << 10
"""Of a kernel command line.  Source: Linux, COMMAND_LINE_SIZE."""
MAX_PATH_BYTES: Final = 4096
"""Of a path or a link's target.  Source: Linux, limits.h (PATH_MAX)."""
MAX_DEPTH: Final = 64
"""Of folders in a path."""
MAX_FOLDERS_BYTES: Final = 16 << 20
"""Of the paths of all folders."""
MAX_LOG_BYTES: Final = 4 << 20
"""Of a kernel log in a report."""
MAX_LOG_LINES: Final = 5_000
"""Of a kernel log; of more, the oldest are read."""
MAX_LOG_LINE_BYTES: Final = 2048
"""Of one message; the rest of a longer one is cut off."""
MAX_MEMBERS: Final = 64
"""Of a report's archive."""
MAX_SECONDS: Final = 5
"""Of processor time for reading and judging a host from a file."""
