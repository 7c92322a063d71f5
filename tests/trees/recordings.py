"""Where recordings are kept."""

from __future__ import annotations

from pathlib import Path

from gpu_passthrough_plugin.discovery import recorded_tree

FOLDER = Path(__file__).parents[1] / "recordings"


def path(name: str) -> Path:
    """A recording's file; the seed's comes with the package."""
    if name == "seed":
        return Path(recorded_tree.SEED)
    return FOLDER / f"{name}.umockdev"
