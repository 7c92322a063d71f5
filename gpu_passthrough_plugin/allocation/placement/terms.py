"""What a consumer asked for, as its ``user_id``, and back: pure."""

from __future__ import annotations

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model.request import Request

MAX_LENGTH = 255
"""Source: placement, schemas/allocation.py."""
_BETWEEN = "; "


def written(request: Request) -> str:
    """The request and what else it asks for: ``gpu:1,nic:1; nodes 0,1``.

    :raises Invalid: when that is longer than Placement keeps.
    """
    words = [str(request)]
    if request.numa_nodes is not None:
        nodes = ",".join(map(str, sorted(request.numa_nodes)))
        words.append(f"nodes {nodes}")
    if request.same_switch:
        words.append("same switch")
    words += [f"not {trait}" for trait in sorted(request.forbidden_traits)]
    found = _BETWEEN.join(words)
    if len(found) > MAX_LENGTH:
        raise errors.Invalid(
            f"the request {str(request)[:40]}… with its conditions is"
            f" {len(found)} characters long, and Placement keeps"
            f" {MAX_LENGTH}; use shorter names in [pci] alias"
        )
    return found


def request_in(asked: str) -> str:
    """The request itself, such as ``gpu:1``."""
    return asked.partition(_BETWEEN)[0]


def are_same(asked: str, request: Request) -> bool:
    """Whether that was asked for, in whatever order."""
    return _sorted(asked) == _sorted(written(request))


def _sorted(asked: str) -> tuple[list[str], str]:
    request, _, rest = asked.partition(_BETWEEN)
    return sorted(request.split(",")), rest
