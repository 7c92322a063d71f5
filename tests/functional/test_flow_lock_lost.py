"""A command whose lock is lost on the way does nothing more.

The backend forgets the lock before each act in turn; the next command
finds a host that it can go on with.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.flow import inventory, release
from gpu_passthrough_plugin.flow.boot import boot
from gpu_passthrough_plugin.flow.context import HostContext
from gpu_passthrough_plugin.host.devices import SysfsDevices
from gpu_passthrough_plugin.host.function_calls import FunctionCalls
from gpu_passthrough_plugin.host.hypervisor import Hypervisor
from gpu_passthrough_plugin.host.instance_journal import InstanceJournal
from gpu_passthrough_plugin.host.locks import HostLock
from gpu_passthrough_plugin.model.function import VFIO, Rebind
from gpu_passthrough_plugin.model.instance import Instance
from gpu_passthrough_plugin.model.reading import MISSING
from tests.functional.acts import URI, Acts, CountedDevices
from tests.functional.servers.backends import PASSWORD, Redis
from tests.functional.world import HOST, UUID, World, guest, place, wanted

pytest_plugins = ("tests.functional.servers.fixtures",)

ACTION = "run the command again"


class Losing:
    """The lock, which the backend forgets at one of the questions for it.

    :param at: from 1; 0 for never.
    """

    def __init__(self, server: Redis, folder: Path, at: int) -> None:
        self.asked = 0
        self._server = server
        self._at = at
        self.lock = HostLock(
            server.url,
            HOST,
            folder=str(folder / "locks"),
            timeout_s=10,
            on_wait=lambda line: None,
        )

    def require(self) -> None:
        self.asked += 1
        if self.asked == self._at:
            self._server._told(f"AUTH {PASSWORD}\r\nFLUSHALL\r\n".encode())
        self.lock.require()


def site_of(world: World, losing: Losing) -> HostContext:
    context = world.context()
    return dataclasses.replace(
        context,
        devices=CountedDevices(
            world.kernel, Acts(before=lambda _: losing.require())
        ),
        connect=lambda: Hypervisor(URI, losing.require),
        journal=InstanceJournal(
            str(world.folder / "instances"), losing.require
        ),
        lock=losing.lock,
    )


def lost_at_each(
    act: Callable[[HostContext], object], world: World, server: Redis
) -> Iterator[str]:
    """What the act says, for each question at which the lock is lost."""
    for at in itertools.count(1):
        losing = Losing(server, world.folder, at)
        try:
            act(site_of(world, losing))
        except errors.Unavailable as error:
            assert losing.asked >= at
            yield str(error)
        else:
            assert losing.asked < at
            return


def test_a_boot(world: World, redis_server: Redis) -> None:
    def booted(context: HostContext) -> None:
        boot(context, guest(), wanted())

    before = world.snapshot()
    count = 0
    for told in lost_at_each(booted, world, redis_server):
        count += 1
        assert f"the lock of {HOST} was lost" in told and ACTION in told
        # The next command undoes it, or finds it finished.
        inventory.publish(world.context())
        if world.guests():
            released(world.context())
        assert world.snapshot() == before
    assert count > 4
    assert world.guests() == {UUID}


def test_a_release(world: World, redis_server: Redis) -> None:
    before = world.snapshot()
    boot(world.context(), guest(), wanted())
    count = 0
    for told in lost_at_each(released, world, redis_server):
        count += 1
        assert f"the lock of {HOST} was lost" in told and ACTION in told
        # The next command finishes it, where it was begun at all.
        inventory.publish(world.context())
        if count > 1:
            assert world.snapshot() == before
            boot(world.context(), guest(), wanted())
    assert count > 3
    assert world.snapshot() == before


def released(context: HostContext) -> None:
    release.release(context, UUID)


def test_without_a_lock_there_is_nothing_to_lose(tmp_path: Path) -> None:
    lock = HostLock(
        f"file://{tmp_path}",
        HOST,
        folder=str(tmp_path),
        timeout_s=1,
        on_wait=pytest.fail,
    )
    lock.require()
    with lock():
        lock.require()
    lock.require()


def lost() -> None:
    raise errors.Unavailable("lost")


def test_every_act_asks_first(tmp_path: Path) -> None:
    """What is behind is not reached: it would fail otherwise."""
    devices = SysfsDevices(FunctionCalls(str(tmp_path)), str(tmp_path), lost)
    journal = InstanceJournal(str(tmp_path / "instances"), lost)
    gpu = place("06:00.0")
    acts: list[Callable[[], object]] = [
        devices.prepare,
        lambda: devices.rebind(Rebind(gpu, VFIO, VFIO)),
        lambda: devices.probe(gpu),
        lambda: devices.reset_function(gpu),
        lambda: devices.reset_bus(gpu, 1),
        lambda: journal.write(Instance(UUID)),
        lambda: journal.remove(UUID),
    ]
    with Hypervisor(URI, lost) as hypervisor:
        acts += [
            lambda: hypervisor.start("<domain/>"),
            lambda: hypervisor.shut_down(UUID, 1),
            lambda: hypervisor.destroy(UUID),
        ]
        for act in acts:
            with pytest.raises(errors.Unavailable, match="lost"):
                act()
        assert hypervisor.live_xml(UUID) is None
    assert journal.read(UUID) is None
    assert devices.identity(gpu) == MISSING
    with pytest.raises(errors.ReadFailed):
        devices.binding(gpu)
    with pytest.raises(errors.ReadFailed):
        devices.require_idle(gpu)
