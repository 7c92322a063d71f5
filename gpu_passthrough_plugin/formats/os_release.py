"""Which distribution a host says that it is."""

from __future__ import annotations

from gpu_passthrough_plugin.model.installation import Installation
from gpu_passthrough_plugin.model.reads import Reads

READS = Reads(files=("/etc/os-release",))


def is_like(found: Installation, *names: str) -> bool:
    """Whether its name, or one that it is like, is one of these.

    A name with a dash is its family's as well: ``opensuse-leap``.
    Source: os-release(5), ``ID`` and ``ID_LIKE``.
    """
    rows = (found.text("/etc/os-release") or "").splitlines()
    fields = dict(row.split("=", 1) for row in rows if "=" in row)
    said = " ".join(
        fields.get(key, "").strip("\"' ") for key in ("ID", "ID_LIKE")
    )
    likes = {part.partition("-")[0] for part in said.split()}
    return not likes.isdisjoint(names)
