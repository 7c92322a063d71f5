"""What holds for every test: laws take their time, and the machine is
out of bounds for all but the functional tests."""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# A busy machine is no reason for a law to fail.
hypothesis.settings.register_profile("project", deadline=None)
hypothesis.settings.load_profile("project")

TESTS = Path(__file__).parent
OURS = (f"{TESTS}/", f"{TESTS.parent / 'gpu_passthrough_plugin'}/")
FUNCTIONAL = TESTS / "functional"
POISONED = ("/sys", "/etc", "/boot", "/proc", "/var/lib/gpu-passthrough")
# Says who runs the tests, and nothing of the machine.
ALLOWED = frozenset({"/proc/self/loginuid"})

# Python's own events and which of their arguments are paths.  Source:
# docs.python.org, library/audit_events.
EVENTS = {
    "open": 1,
    "os.chdir": 1,
    "os.chmod": 1,
    "os.chown": 1,
    "os.link": 2,
    "os.listdir": 1,
    "os.mkdir": 1,
    "os.remove": 1,
    "os.rename": 2,
    "os.rmdir": 1,
    "os.scandir": 1,
    "os.truncate": 1,
    "sqlite3.connect": 1,
}


class Poisoned(AssertionError):
    """A test touched the machine it runs on."""


class Poison:
    """What touched the machine while it was active."""

    def __init__(self) -> None:
        self.is_active = False
        self.touched: list[str] = []

    def taste(self, event: str, arguments: tuple[object, ...]) -> None:
        """Python's audit hook.

        :raises Poisoned: when a path argument is out of bounds.
        """
        if not self.is_active or event not in EVENTS:
            return
        for argument in arguments[: EVENTS[event]]:
            if isinstance(argument, str | bytes | os.PathLike):
                self._swallow(event, os.path.abspath(os.fsdecode(argument)))

    def _swallow(self, event: str, path: str) -> None:
        # The root itself is where a walk by folder descriptors begins.
        is_poisoned = path == "/" or f"{path}/".startswith(
            tuple(f"{folder}/" for folder in POISONED)
        )
        if path not in ALLOWED and is_poisoned and not _is_foreign_import():
            self.touched.append(f"{event} {path}")
            raise Poisoned(f"{event} {path}: build a tree for the test")


def _is_foreign_import() -> bool:
    """Whether another project's module is being imported right now.

    What such a one reads then, as psutil reads ``/proc/stat``, is none
    of the tests' doing, and depends on which test comes first.
    """
    frame: types.FrameType | None = sys._getframe()
    while frame and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    while frame:
        name = frame.f_code.co_filename
        if name.startswith(OURS):
            return False
        if name.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


_POISON = Poison()
# A hook cannot be taken out again, so that one serves every test.
sys.addaudithook(_POISON.taste)


@pytest.fixture(autouse=True)
def poison(request: pytest.FixtureRequest) -> Iterator[Poison]:
    """Fails a test that opened or listed a folder of the real machine.

    Also where the code under test took the error for one of its own.
    Python tells of opening, listing and changing, not of ``readlink`` and
    ``stat``.
    """
    _POISON.touched.clear()
    _POISON.is_active = FUNCTIONAL not in request.path.parents
    yield _POISON
    _POISON.is_active = False
    assert not _POISON.touched, "the test touched the machine it runs on"
