"""Which release of the package is installed."""

from __future__ import annotations

from importlib import metadata

DISTRIBUTION = "gpu-passthrough-plugin"


def version() -> str:
    """Such as ``1.2.3``."""
    return metadata.version(DISTRIBUTION)
