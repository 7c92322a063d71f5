"""Nova's API refuses a flavor with an extra spec of ours that is wrong.

It is loaded by ``nova.api.extra_spec_validators``, an entry point; with it
a name below ``gpu_passthrough:`` that nothing reads is refused, too.
Nova checks since microversion 2.86.
"""

from __future__ import annotations

from typing import Any

from gpu_passthrough_plugin.nova import extra_specs
from gpu_passthrough_plugin.nova.cover import Locality


def register() -> list[Any]:
    """Nova's ``ExtraSpecValidator`` of each extra spec of ours.

    Source: nova, api/validation/extra_specs/base.py.
    """
    # Nova ships no types, and is only here where it loads this.
    from nova.api.validation.extra_specs import (  # type: ignore[import-not-found,unused-ignore]
        base,
    )

    return [
        base.ExtraSpecValidator(
            name=extra_specs.LOCALITY,
            description=extra_specs.DESCRIPTION,
            value={"type": str, "enum": [str(value) for value in Locality]},
        )
    ]
