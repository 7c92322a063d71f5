"""One example of each cause."""

from __future__ import annotations

from tests.unit.diagnosis.examples.driver import DRIVER
from tests.unit.diagnosis.examples.function import FUNCTION
from tests.unit.diagnosis.examples.host import HOST

EXAMPLES = {**HOST, **DRIVER, **FUNCTION}
"""By the name of the cause."""
