"""No text of 64 KiB costs a reader more than a moment, however odd it is.

Seeded, so that it is the same in each run.  A reader whose time grows with
the square of the text takes minutes here.
"""

from __future__ import annotations

import contextlib
import pkgutil
import random
import time
from collections.abc import Iterable

import pytest

from gpu_passthrough_plugin import errors, formats
from tests.property.readers import PIECES, READERS

SIZE = 64 << 10
# Of one text, on a machine that is busy; each takes some hundredths.
MAX_SECONDS = 2.0
# Of values that somebody's configuration has, or of bytes from the kernel.
NO_TEXT = frozenset(
    {"nova_entry", "nova_pci_address", "nova_release", "rtnetlink"}
)


def texts(seed: str) -> Iterable[str]:
    """Yield single pieces and mixed ones, repeated to ``SIZE``."""
    chance = random.Random(seed)  # noqa: S311 - not for secrets
    for _ in range(14):
        unit = "".join(chance.choices(PIECES, k=chance.choice((1, 1, 2, 3))))
        prefix = "".join(chance.choices(PIECES, k=chance.randrange(3)))
        yield prefix + (unit * (SIZE // len(unit)))


def test_every_reader_is_tried() -> None:
    modules = {
        module.name for module in pkgutil.iter_modules(formats.__path__)
    }
    assert modules - NO_TEXT == set(READERS) - {""}


@pytest.mark.parametrize("module", sorted(READERS))
def test_a_reader_takes_no_longer_than_its_text(module: str) -> None:
    for number, reader in enumerate(READERS[module]):
        for text in texts(f"{module} {number}"):
            started = time.process_time()
            with contextlib.suppress(ValueError, errors.Error):
                reader(text)
            seconds = time.process_time() - started
            assert seconds < MAX_SECONDS, (number, text[:60])
