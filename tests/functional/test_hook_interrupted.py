"""The libvirt hook, and a boot of its guest that was interrupted."""

from __future__ import annotations

import pytest

from tests.functional.acts import Acts, Crash
from tests.functional.test_flow_interrupted import recover, start
from tests.functional.test_hook_flow import Libvirt
from tests.functional.world import World


def test_a_guest_whose_boot_was_interrupted_is_not_started_by_libvirt(
    world: World,
) -> None:
    """What undoes the boot would take the functions that it used as clean."""
    libvirt = Libvirt(world)
    # The eighth act notes that the guest is about to be started.
    for crash_at in range(1, 9):
        before = world.snapshot()
        with pytest.raises(Crash):
            start(world.context(Acts(crash_at=crash_at, does_it=True)))
        assert libvirt.calls("prepare") == int(crash_at < 8)
        recover(world.context())
        assert world.snapshot() == before
