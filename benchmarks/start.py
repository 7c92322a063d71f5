"""What the quick answers cost, beside a Python that does nothing.

Run it from a checkout::

    python -m benchmarks.start

Whole processes, CPU time, interleaved pairs, medians.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import pairs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=11)
    parser.add_argument(
        "--command",
        default=str(Path(sys.executable).with_name("gpu-passthrough")),
        help="the installed command",
    )
    chosen = parser.parse_args()
    nothing = [sys.executable, "-c", "pass"]
    print(f"{'':>12} {'ours ms':>9} {'pass ms':>9} {'ratio':>8}")
    for word in ("--version", "complete"):
        found = pairs.compare([chosen.command, word], nothing, chosen.pairs)
        print(
            f"{word:>12} {found.ours_ms:9.1f} {found.theirs_ms:9.1f}"
            f" {found.ratio:8.2f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
