"""Which distribution a host is, by /etc/os-release.

Source: os-release(5): assignments as a shell has them, without expansions.
"""

from __future__ import annotations

from collections.abc import Mapping

from gpu_passthrough_plugin.formats import shell_assignments
from gpu_passthrough_plugin.model.installation import Installation, Reads

PATH = "/etc/os-release"
READS = Reads(files=(PATH,))


def fields(text: str) -> Mapping[str, str]:
    """Return the file's fields by name."""
    variables = shell_assignments.evaluate(text)
    return {
        name: value
        for name in variables.values
        if isinstance(value := variables.value(name), str)
    }


def is_like(installation: Installation, *names: str) -> bool:
    """Return whether the distribution, or one that it is like, is named.

    ``opensuse-leap`` counts as its family ``opensuse`` as well.
    Source: os-release(5), ``ID`` and ``ID_LIKE``.
    """
    values = fields(installation.text(PATH) or "")
    ids = f"{values.get('ID', '')} {values.get('ID_LIKE', '')}".split()
    return any(
        name in (distribution, distribution.partition("-")[0])
        for distribution in ids
        for name in names
    )
