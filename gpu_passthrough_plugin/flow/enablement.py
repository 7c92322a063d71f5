"""``host enable`` and ``host disable``: how a host boots, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.enablement import (
    foreign_edits,
    load,
    plan,
    targets,
)
from gpu_passthrough_plugin.enablement.undo import undo
from gpu_passthrough_plugin.flow import boot_state, host_snapshot
from gpu_passthrough_plugin.flow.boot_state import BootState
from gpu_passthrough_plugin.flow.host_snapshot import HostSnapshot, Scope
from gpu_passthrough_plugin.host.boot.apply import Carrier
from gpu_passthrough_plugin.host.boot.revert import Recall
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import selector
from gpu_passthrough_plugin.model.change import Action, Build, Change
from gpu_passthrough_plugin.model.enablement import Enablement, Target
from gpu_passthrough_plugin.model.facts import HostFacts
from gpu_passthrough_plugin.model.reading import known
from gpu_passthrough_plugin.model.record import History
from gpu_passthrough_plugin.model.undo import Edit, Rebuild, Undo

if TYPE_CHECKING:
    from gpu_passthrough_plugin.conf.enablement import Enablement as Choice

Tell = Callable[[Iterable[str], Iterable[Change]], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Bench:
    """One host, and what changing how it boots needs.

    :param choice: what the configuration says of it.
    :param carrier: None for a host that is only looked at, as ``recall``.
    :param lock: taken around every change.
    :param say: told of each step when it is done.
    """

    tree: Tree
    policy: Policy
    choice: Choice
    carrier: Carrier | None
    recall: Recall | None
    lock: Callable[[], AbstractContextManager[None]]
    say: Callable[[str], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """What one call asks for besides the configuration.

    :param select: in the place of what the policy selects, if any.
    """

    select: tuple[str, ...] = ()
    binding: str | None = None
    blacklist: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Planned:
    """A plan, and what carrying it out has to know.

    :param notes: for the operator, before anything is done.
    """

    changes: tuple[Change, ...]
    notes: tuple[str, ...]
    enablement: Enablement
    history: History | None
    edits: tuple[Edit, ...]

    @property
    def is_done(self) -> bool:
        """Whether the host is so already, by our own doing."""
        history = self.history
        return (
            _is_kept(history, self.changes)
            and not self.edits
            and history is not None
            and history.enablement == self.enablement
        )


def planned(bench: Bench, wanted: Wanted) -> Planned:
    """What ``enable`` would do now.

    :raises Refused: when the host needs what is selected, or a driver
        cannot do it on this host.
    """
    policy = bench.policy
    if wanted.select:
        select = tuple(map(selector.parse, wanted.select))
        policy = Policy(select, policy.exclude)
    snapshot = host_snapshot.read(bench.tree, policy, Scope.ALL)
    boot = boot_state.read(bench.tree, snapshot.facts)
    selection = targets.selection(
        snapshot.predicted_groups(), _strict(wanted, policy)
    )
    if not selection.targets:
        raise errors.Refused(_nothing(selection.kept))
    history = bench.carrier.history() if bench.carrier else None
    drivers, evidence = _drivers(bench, wanted, snapshot.facts, boot)
    _require_same(drivers, history)
    desired = _wish(bench, wanted, snapshot, selection.targets)
    made = plan.plan(
        desired,
        drivers,
        boot.installation,
        bench.carrier.built(history) if bench.carrier else {},
        history.enablement.arguments if history else (),
    )
    changes = foreign_edits.resumed(made.changes, history)
    boot_id = known(boot.boot_id) or ""
    if history and _is_kept(history, changes):
        # Of the boot in which the last change was made.
        boot_id = history.enablement.boot_id
    return Planned(
        changes,
        (
            *(f"kept: {line}" for line in selection.kept),
            *evidence,
            *made.notes,
        ),
        made.enablement(desired, drivers, boot_id),
        history,
        _edits(bench, history),
    )


def enable(bench: Bench, wanted: Wanted, tell: Tell) -> tuple[Change, ...]:
    """The changes that were made, those that were none among them.

    :param tell: shown the notes and changes before anything is done.
    :raises Error: when a step fails; what was done stays, is taken back
        by ``disable``, and gone on with by another ``enable``.
    """
    carrier = _carrier(bench)
    with bench.lock():
        made = planned(bench, wanted)
        tell(made.notes, made.changes)
        if not made.is_done:
            carrier.carry_out(made.changes, made.enablement, made.edits)
        if any(c.action is not Action.KEEP for c in made.changes):
            bench.say(
                "reboot this host, then see 'gpu-passthrough host verify'"
            )
        else:
            bench.say("nothing to do: the host is set up like that already")
        return made.changes


def undoing(bench: Bench) -> tuple[Undo, ...]:
    """What ``disable`` would do now; nothing where nothing was done."""
    carrier = _carrier(bench)
    history = carrier.history()
    return _steps(bench, carrier, history) if history else ()


def disable(bench: Bench) -> tuple[Undo, ...]:
    """The steps that took everything back.

    :raises Error: when one fails; another ``disable`` goes on.
    """
    carrier = _carrier(bench)
    if bench.recall is None:
        raise TypeError("a host that is only looked at")
    with bench.lock():
        history = carrier.history()
        if history is None:
            bench.say("nothing to do: this host was not enabled")
            return ()
        steps = _steps(bench, carrier, history)
        names = history.enablement.drivers
        bench.recall.take_back(
            history, steps, lambda step: _image(bench, names, step)
        )
        bench.say("reboot this host for it to be as it was")
        return steps


def _steps(
    bench: Bench, carrier: Carrier, history: History
) -> tuple[Undo, ...]:
    kernels = boot_state.read_installation(bench.tree).kernels
    images = {kernel.release: kernel.image for kernel in kernels}
    return undo(history, carrier.seen(history), images)


def _image(
    bench: Bench, names: Mapping[str, str], step: Rebuild
) -> Build | None:
    """What builds one image, by the host's files as they are by now."""
    found = boot_state.read_installation(bench.tree)
    driver, _ = load.initramfs(found, names["initramfs"])
    return next(iter(plan.images(driver, found, (step.image,))), None)


def _is_kept(history: History | None, changes: Iterable[Change]) -> bool:
    """Whether an earlier plan was carried out, and leaves nothing to do."""
    is_finished = history is not None and history.is_finished
    return is_finished and all(c.action is Action.KEEP for c in changes)


def _carrier(bench: Bench) -> Carrier:
    if bench.carrier is None:
        raise TypeError("a host that is only looked at")
    return bench.carrier


def _strict(wanted: Wanted, policy: Policy) -> tuple[selector.Selector, ...]:
    """Selectors that have to find a group: those that one call names."""
    return policy.select if wanted.select else ()


def _nothing(kept: Iterable[str]) -> str:
    reasons = "; ".join(kept) or "see 'gpu-passthrough device list'"
    return f"nothing is selected that can be handed out: {reasons}"


def _drivers(
    bench: Bench, wanted: Wanted, facts: HostFacts, boot: BootState
) -> tuple[plan.Drivers, tuple[str, ...]]:
    """Who plans, and why it is them."""
    choice = bench.choice
    iommu, of_iommu = load.iommu(facts, choice.iommu)
    loader, of_loader = load.bootloader(boot.installation, choice.bootloader)
    images, of_images = load.initramfs(boot.installation, choice.initramfs)
    binding = load.binding(wanted.binding or choice.binding)
    drivers = plan.Drivers(iommu, loader, images, binding)
    pairs = ((iommu, of_iommu), (loader, of_loader), (images, of_images))
    return drivers, tuple(f"{d.name}: {why}" for d, why in pairs)


def _require_same(drivers: plan.Drivers, history: History | None) -> None:
    """Nothing, where the drivers are those of what was done before.

    :raises Refused: when they are not: each knows its own files alone.
    """
    before = history.enablement.drivers if history else drivers.names
    if dict(before) != drivers.names:
        raise errors.Refused(
            f"this host was enabled by {_shown(before)}, and these are"
            f" {_shown(drivers.names)}: run 'gpu-passthrough host disable'"
            " first"
        )


def _shown(names: Mapping[str, str]) -> str:
    return ", ".join(f"{kind} {name}" for kind, name in sorted(names.items()))


def _wish(
    bench: Bench,
    wanted: Wanted,
    snapshot: HostSnapshot,
    chosen: tuple[Target, ...],
) -> plan.DesiredState:
    taken = {target.address for target in chosen}
    choice = bench.choice
    return plan.DesiredState(
        targets=chosen,
        others=tuple(m for m in snapshot.members() if m.address not in taken),
        blacklist=(*choice.blacklist, *wanted.blacklist),
        iommu_passthrough=choice.iommu_passthrough,
        allow_unsafe_interrupts=choice.allow_unsafe_interrupts,
    )


def _edits(bench: Bench, history: History | None) -> tuple[Edit, ...]:
    if bench.carrier is None or history is None:
        return ()
    return foreign_edits.edits(history, bench.carrier.seen(history))
