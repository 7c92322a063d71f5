"""What a host depends on, to be looked at."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True, slots=True)
class Dependency:
    """A service that the host depends on.

    :param check: returns where the service is, such as its URL; raises
        ``errors.Error`` when it cannot be used.
    :param remedy: what helps then.
    """

    name: str
    check: Callable[[], str]
    remedy: str
