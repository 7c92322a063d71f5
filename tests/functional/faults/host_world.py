"""A recorded host on which anything may happen, and what must hold of it.

Besides ``World`` it knows what the product cannot be asked for: which
functions a guest has used since they were last reset.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import libvirt

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.flow import agent, hook
from gpu_passthrough_plugin.flow.agent import Outcome, UnitCache
from gpu_passthrough_plugin.flow.context import HostContext
from gpu_passthrough_plugin.flow.hook import HookContext
from gpu_passthrough_plugin.formats import domain_xml, host_devices
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import Binding, Identity
from gpu_passthrough_plugin.model.hook import HookMode
from gpu_passthrough_plugin.model.instance import Phase
from tests.functional.acts import Acts, Kernel
from tests.functional.counted_hypervisor import CountedHypervisor
from tests.functional.hooked import xml
from tests.functional.world import HOST, POLICY, World, guest
from tests.trees import seed

_DEAD = Identity(0xFFFF, 0xFFFF)


class _Kernel(Kernel):
    """Functions that are dirty from a guest's start to their next reset.

    :param users: returns the functions of guests that run.
    :ivar dirty: each with the guest that had it last.
    """

    def __init__(
        self,
        bindings: dict[Address, Binding],
        identities: dict[Address, Identity],
        users: Callable[[], set[Address]],
    ) -> None:
        super().__init__(bindings, identities)
        self.dirty: dict[Address, str] = {}
        self._users = users

    def require_idle(self, address: Address) -> None:
        super().require_idle(address)
        if address in self._users():
            raise errors.Refused(f"the group of {address} is held")

    def reset_function(
        self, address: Address, method: str | None = None
    ) -> None:
        super().reset_function(address, method)
        self.dirty.pop(address, None)

    def reset_bus(
        self, address: Address, iommu_group: int, others: Sequence[int] = ()
    ) -> None:
        super().reset_bus(address, iommu_group, others)
        bus = f"{str(address).rpartition(':')[0]}:"
        for function in tuple(self.dirty):
            if str(function).startswith(bus):
                del self.dirty[function]


class _Silent:
    """A ledger that answers so many calls, and then none.

    :param answers: how many.
    """

    def __init__(self, ledger: Any, answers: int) -> None:
        self._ledger, self._left = ledger, answers

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._ledger, name)
        if not callable(found) or name == "close":
            return found

        def called(*positional: Any, **named: Any) -> Any:
            self._left -= 1
            if self._left < 0:
                raise errors.Unavailable("the ledger does not answer")
            return found(*positional, **named)

        return called


class HostWorld(World):
    """A host with guests that come and go, and its power, too."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.first = dict(self.bindings)
        self.kernel: _Kernel = _Kernel(
            self.bindings, self.kernel.identities, self.used
        )
        self.cards: Sequence[seed.Card] = seed.CARDS
        self.cache = UnitCache()
        self.handed_over: list[str] = []
        # It sees what was plugged into guests and out of them.
        self._watcher = CountedHypervisor(Acts(), self.kernel)
        self._in_use: set[Address] = set()
        self.unclean_starts: list[str] = []

    def close(self) -> None:
        for uuid in self.guests():
            self.hypervisor.destroy(uuid)
        for domain in self.hypervisor.domains():
            if domain.is_persistent and domain.name != "test":
                self.hypervisor.undefine(domain.uuid)
        self._watcher.__exit__(None, None, None)
        super().close()

    # What acts on it.

    def acting(self, acts: Acts, answers: int | None = None) -> HostContext:
        """The host as a command sees it.

        :param answers: how often the ledger answers; None for always.
        """
        context = self.context(acts)
        ledger: Any = context.ledger
        if answers is not None:
            ledger = _Silent(ledger, answers)
        return dataclasses.replace(
            context,
            ledger=ledger,
            connect=lambda: _Hypervisor(
                acts, self.kernel, self._started, self._gives_back
            ),
        )

    def silent_libvirt(self) -> HostContext:
        def connect() -> NoReturn:
            raise errors.Unavailable("libvirt does not answer")

        return dataclasses.replace(self.acting(Acts()), connect=connect)

    def hook(self, acts: Acts, answers: int | None = None) -> HookContext:
        context = self.acting(acts, answers)
        return HookContext(
            host=HOST,
            tree=self.tree,
            policy=POLICY,
            open_ledger=lambda: context.ledger,
            journal=self.journal,
            ended=self.ended,
            mode=HookMode.FULL,
            wait_s=0,
            hand_over=self.handed_over.append,
        )

    def passed(self, acts: Acts | None = None) -> tuple[Outcome, ...]:
        return agent.run(self.acting(acts or Acts()), self.cache)

    # What happens to it.

    def libvirt_starts(
        self, uuid: str, functions: Sequence[Address], acts: Acts, dies: bool
    ) -> bool:
        """Whether the guest of somebody else's document runs.

        :param dies: whether libvirt dies between the hook and the start.
        """
        texts = [str(function) for function in functions]
        text = xml(*texts, uuid=uuid).encode()
        context = self.hook(acts)
        status = hook.act(lambda: context, "guest", hook.PREPARE, text)
        if status or dies or uuid in self.guests():
            return False
        devices = text.decode().partition("<devices>")[2]
        devices = devices.partition("</devices>")[0]
        self.hypervisor.start(guest(uuid, uuid, devices).text.decode())
        self._has_started(uuid)
        return True

    def define(self, uuid: str) -> None:
        """Somebody defines a domain without any function."""
        self.hypervisor.define(guest(uuid, uuid).text.decode())

    def starts_defined(self, uuid: str, acts: Acts) -> bool:
        """Whether a domain runs that libvirt starts by its definition."""
        text = self.hypervisor.defined_xml(uuid, is_whole=True)
        if (
            text is None
            or uuid in self.guests()
            or self.defined(uuid) & self.used()
            or not self.defined(uuid) <= self.kernel._bindings.keys()
        ):
            return False
        context = self.hook(acts)
        if hook.act(lambda: context, uuid, hook.PREPARE, text.encode()):
            return False
        self.hypervisor.start_defined(uuid)
        self._has_started(uuid)
        return True

    def _has_started(self, uuid: str) -> None:
        """libvirt has bound what is managed, and the guest uses it."""
        self.kernel.manage(uuid, self.hypervisor.live_xml(uuid) or "")
        self._started()

    def ends(self, uuid: str, answers: int | None, *, is_told: bool) -> None:
        """The guest ends by itself.

        :param is_told: whether the hook is, as libvirt does unless it dies.
        """
        functions = self.running().get(uuid, frozenset())
        self.hypervisor.destroy(uuid)
        self._gives_back()
        if is_told and not self.journal.has(uuid):
            text = xml(*map(str, sorted(functions)), uuid=uuid).encode()
            context = self.hook(Acts(), answers)
            hook.act(lambda: context, "guest", hook.RELEASE, text)

    def loses_power(self) -> None:
        """Everything that no disk keeps is gone."""
        for uuid in self.guests():
            self.hypervisor.destroy(uuid)
        self._gives_back()
        shown = self.shown()
        cards = {f for f in self.first if self._is_of_card(f)}
        self.kernel.restart(
            {
                function: binding
                for function, binding in self.first.items()
                if function in shown or function not in cards
            }
        )
        self.kernel.dirty.clear()
        for function in cards:
            self.kernel.identities.pop(function, None)
        self.kernel.identities.update(shown)
        self.cache = UnitCache()
        for domain in self.hypervisor._connection.listAllDomains(
            libvirt.VIR_CONNECT_LIST_DOMAINS_AUTOSTART
        ):
            self.starts_defined(domain.UUIDString(), Acts())

    def is_rebuilt(self, cards: Sequence[seed.Card]) -> None:
        """Other cards, or other groups, since the power is back."""
        self.cards = cards
        self.tree = seed.seed(cards).tree()
        self.loses_power()

    def _is_of_card(self, function: Address) -> bool:
        slots = tuple(f"{card.slot}." for card in seed.CARDS)
        return str(function).startswith(slots)

    def dies(self, function: Address) -> None:
        """The function reads as all ones until the power is cut."""
        self.kernel.identities[function] = _DEAD

    def saves_ledger(self) -> None:
        self.ledger.close()
        shutil.copy(self.folder / "ledger.sqlite", self.folder / "copy")

    def restores_ledger(self) -> None:
        copy = self.folder / "copy"
        if not copy.exists():
            return
        self.ledger.close()
        for suffix in ("-wal", "-shm"):
            path = self.folder / f"ledger.sqlite{suffix}"
            path.unlink(missing_ok=True)
        shutil.copy(copy, self.folder / "ledger.sqlite")

    # What is true of it.

    def shown(self) -> dict[Address, Identity]:
        """The cards' functions that the host has now, as they read."""
        return {
            address.parse(f"{card.slot}.{number}"): _identity(ids)
            for card in self.cards
            for number, ids in enumerate(card.ids)
        }

    def unfinished(self) -> set[str]:
        """Instances that a command was at when it died."""
        return {
            instance.uuid
            for instance in self.journal.instances()
            if instance.phase in (Phase.BOOTING, Phase.RELEASING)
        }

    def running(self) -> dict[str, frozenset[Address]]:
        """The guests that run, with the functions of this host's."""
        found = {}
        for uuid in self.guests():
            text = self._watcher.live_xml(uuid)
            if text is not None:
                root = domain_xml.tree(text.encode(), uuid).getroot()
                taken = host_devices.host_functions(root).addresses
                found[uuid] = frozenset(taken)
        return found

    def defined(self, uuid: str) -> frozenset[Address]:
        """The functions that a domain has by its definition."""
        text = self.hypervisor.defined_xml(uuid)
        if text is None:
            return frozenset()
        root = domain_xml.tree(text.encode(), uuid).getroot()
        return frozenset(host_devices.host_functions(root).addresses)

    def used(self) -> set[Address]:
        """The functions that running guests have."""
        return set().union(*self.running().values())

    def _started(self) -> None:
        """Note what guests use since."""
        users = {f: uuid for uuid, own in self.running().items() for f in own}
        dirty = self.kernel.dirty
        for function, uuid in users.items():
            # A guest that starts again finds what it left itself.
            if (
                function not in self._in_use
                and dirty.get(function, uuid) != uuid
            ):
                self.unclean_starts.append(f"{uuid} was given {function}")
        self._in_use = set(users)
        dirty |= users

    def _gives_back(self) -> None:
        """libvirt returns what is managed to its driver at a guest's end."""
        self._in_use &= self.used()
        kernel = self.kernel
        had = {*kernel._managed, *kernel.plugged, *kernel.unplugged}
        for uuid in had - self.guests():
            self.kernel.return_managed(uuid)


class _Hypervisor(CountedHypervisor):
    """libvirt, which tells what its calls did, also of a process that died."""

    def __init__(
        self,
        acts: Acts,
        kernel: Kernel,
        started: Callable[[], None],
        ended: Callable[[], None],
    ) -> None:
        super().__init__(acts, kernel)
        self._started, self._ended = started, ended

    def start(self, xml: str) -> None:
        try:
            super().start(xml)
        finally:
            self._started()

    def start_defined(self, uuid: str) -> None:
        try:
            super().start_defined(uuid)
        finally:
            self._started()

    def plug(self, uuid: str, xml: str) -> None:
        try:
            super().plug(uuid, xml)
        finally:
            self._started()

    def destroy(self, uuid: str) -> None:
        try:
            super().destroy(uuid)
        finally:
            self._ended()

    def shut_down(self, uuid: str, timeout_s: float) -> bool:
        try:
            return super().shut_down(uuid, timeout_s)
        finally:
            self._ended()


def _identity(ids: str) -> Identity:
    vendor, product = ids.split(":")
    return Identity(int(vendor, 16), int(product, 16))


def disk_full(at: int) -> Callable[[str], None]:
    """Nothing is written to the disk from the nth act on."""
    left = [at]

    def before(name: str) -> None:
        left[0] -= 1
        if left[0] <= 0 and name == "journal":
            raise errors.Unavailable("no space left on device")

    return before
