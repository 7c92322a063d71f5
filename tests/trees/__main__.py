"""Write the recordings of the described hosts anew."""

from __future__ import annotations

from pathlib import Path

from gpu_passthrough_plugin.discovery import grammar, recording
from tests.trees.seed import seed


def main() -> None:
    Path(recording.SEED).write_bytes(grammar.printed(seed().devices()))


if __name__ == "__main__":
    main()
