"""What acts on a world tell, under their titles, for a golden file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.flow import release
from tests.functional.acts import Crash
from tests.functional.test_flow_interrupted import recover
from tests.functional.world import UUID, World
from tests.golden import assert_golden, sections


class Messages:
    """The lines that were told of each act, by its title."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.context = world.context()
        self._lines: dict[str, list[str]] = {}

    def tell(self, title: str, act: Callable[[], object]) -> None:
        """Add the lines of an act, and its error."""
        self.world.said.clear()
        last = []
        try:
            act()
        except errors.Error as error:
            last = [f"{type(error).__name__}: {error}"]
        except Crash:
            last = ["(killed)"]
        self._lines[title] = [*self.world.said, *last]

    def plan(self, title: str) -> None:
        """Add why a release would be done."""
        self._lines[title] = [release.plan(self.context, UUID).reason]

    def recover(self, title: str) -> None:
        self.tell(title, lambda: recover(self.context))

    def assert_golden(self, path: Path) -> None:
        assert_golden(path, sections(self._lines))
