"""Where recordings are kept."""

from __future__ import annotations

from pathlib import Path

from gpu_passthrough_plugin.discovery import recording

FOLDER = Path(__file__).parents[1] / "recordings"


def path(name: str) -> Path:
    """A recording's file; the seed's comes with the package."""
    if name == "seed":
        return Path(recording.SEED)
    return FOLDER / f"{name}.umockdev"
