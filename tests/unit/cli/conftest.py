"""What commands change of the process, for the tests that run after them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import pytest

from gpu_passthrough_plugin.cli import output


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    for handler in root.handlers[:]:
        if handler not in before:
            root.removeHandler(handler)
            with contextlib.suppress(OSError):  # as logging.shutdown does
                handler.close()
    root.setLevel(level)
    output.on_shown(lambda _line, _is_error: None)
