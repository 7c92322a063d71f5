"""What a function's config space says it is."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Identity:
    """Both ids as config space has them now; ffff where nobody answers."""

    vendor_id: int
    product_id: int
