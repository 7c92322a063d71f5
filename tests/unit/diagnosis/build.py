"""Evidence and cases, from a few words or from a described host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpu_passthrough_plugin.diagnosis.causes import catalogue
from gpu_passthrough_plugin.diagnosis.causes.catalogue import Rule
from gpu_passthrough_plugin.diagnosis.evidence import Case, Cause, Evidence
from gpu_passthrough_plugin.discovery.facts import facts as host_facts
from gpu_passthrough_plugin.discovery.functions import detail as host_detail
from gpu_passthrough_plugin.discovery.functions import functions
from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.change_history import Enablement, Target
from gpu_passthrough_plugin.model.function import Function
from gpu_passthrough_plugin.model.group import Member, Role
from gpu_passthrough_plugin.model.installation import Installation, Kernel
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why
from tests.trees.installed import installation
from tests.unit.isolation.values import audio, detail, facts, gpu

RELEASE = "6.1.0"
LOST = Unknown(Why.UNREADABLE, "Permission denied")
PATH = "/etc/modprobe.d/vfio.conf"
ALL_IDS = "options vfio-pci ids=10de:1430,10de:0fba"
HALF_IDS = "options vfio-pci ids=10de:1430"
WORD = ("quiet", "intel_iommu=on")
SOURCE = {"/etc/default/grub": WORD}
# ``Any``: keywords of a tuple, which checks nothing of its own.
Fields = Any


def target(of: Function, **fields: Fields) -> Target:
    made: Fields = dict(
        address=of.address,
        vendor_id=of.vendor_id,
        product_id=of.product_id,
        class_code=of.class_code,
        is_primary=of.is_display,
    )
    return Target(**made | fields)


def member(of: Function, **fields: Fields) -> Member:
    """A function with its detail; ``fields`` are the detail's."""
    role = Role.PRIMARY if of.is_display else Role.COMPANION
    made: Fields = {"bridges": (address.parse("00:02.0"),)}
    return Member(
        of, Role.BRIDGE if of.is_bridge else role, detail(of, **made | fields)
    )


def found(
    files: dict[str, str] | None = None,
    *,
    builtin: Sequence[str] = (),
    names: dict[str, tuple[str, ...]] | None = None,
    tools: Sequence[str] = (),
    **fields: Fields,
) -> Installation:
    """How a host boots: its files, by path, and their folders."""
    folders = {**(names or {})}
    for path in files or ():
        folder, _, name = path.rpartition("/")
        folders[folder] = (*folders.get(folder, ()), name)
    made: Fields = dict(
        files={path: text.encode() for path, text in (files or {}).items()},
        links={},
        folders=folders,
        tools={tool: f"/usr/sbin/{tool}" for tool in tools},
        kernels=(
            Kernel(RELEASE, f"/boot/initrd.img-{RELEASE}", frozenset(builtin)),
        ),
    )
    return Installation(**made | fields)


def enabled(*targets: Target, **fields: Fields) -> Enablement:
    made: Fields = dict(
        targets=targets,
        binding="address",
        arguments=("intel_iommu=on",),
        boot_id="earlier",
        drivers={},
    )
    return Enablement(**made | fields)


def evidence(*members: Member, **fields: Fields) -> Evidence:
    """An Intel host whose IOMMU runs, on which nothing was done."""
    made: Fields = dict(
        facts=facts(kernel_release=RELEASE),
        members=members,
        groups=(),
        installation=found(),
        log=(),
        configured={},
        entries={},
        images={},
        enablement=None,
        boot_id="now",
        has_vfio=MISSING,
    )
    return Evidence(**made | fields)


def card(**fields: Fields) -> tuple[Member, ...]:
    """A card and its audio function on their host drivers; group 1."""
    return (
        member(gpu(**{"driver": "nouveau"} | fields)),
        member(audio(**{"driver": "snd_hda_intel"} | fields)),
    )


def case(*members: Member, **fields: Fields) -> Case:
    """Of the first member; the first two are the targets."""
    members = members or card()
    targets = tuple(target(m.function) for m in members[:2])
    return Case(targets[0], members[0], evidence(*members, **fields), targets)


def ungrouped(**fields: Fields) -> Case:
    """The same on a host that made no groups; ``fields`` are its facts."""
    made: Fields = {"iommus": (), "kernel_release": RELEASE}
    return case(*card(iommu_group=None), facts=facts(**made | fields))


def of_tree(tree: Tree, log: tuple[str, ...]) -> Evidence:
    """A described or recorded host, on which ``host enable`` never ran."""
    read = functions(tree)
    members = (
        Member(f, Role.BRIDGE if f.is_bridge else Role.COMPANION,
               host_detail(tree, f))
        for f in sorted(read, key=lambda f: f.address)
    )  # fmt: skip
    return evidence(
        *members,
        facts=host_facts(tree),
        installation=installation(tree),
        log=log,
    )


def names(causes: Sequence[Cause]) -> list[str]:
    return [cause.name for cause in causes]


def told(*words: str, **fields: Fields) -> Fields:
    """Evidence of a kernel without groups that was told these words."""
    made = facts(kernel_arguments=words, iommus=(), kernel_release=RELEASE)
    return {"facts": made, **fields}


def arguments(*words: str) -> Fields:
    """Evidence of a host with groups whose kernel was told these words."""
    made = facts(kernel_arguments=words, kernel_release=RELEASE)
    return {"facts": made}


def conf(text: str, path: str = PATH, **fields: Fields) -> Fields:
    """Evidence of a host with this module configuration."""
    return {"installation": found({path: f"{text}\n"}, **fields)}


def image(*names: str, **fields: Fields) -> Fields:
    """Evidence of a host whose initramfs has these files."""
    return {"images": {RELEASE: ("init", *names)}, **fields}


def bound(**fields: Fields) -> tuple[Member, ...]:
    """A card and its audio function on vfio-pci."""
    return (
        member(gpu(driver="vfio-pci"), **fields),
        member(audio(driver="vfio-pci")),
    )


UNGROUPED = card(iommu_group=None)
BY_IDS, BY_ADDRESS = enabled(binding="ids"), enabled()


def cause(rule: Rule, case: Case) -> Cause:
    """The cause that a rule finds, among all that apply."""
    name = rule_name(rule)
    (result,) = [c for c in catalogue.causes(case) if c.name == name]
    return result


def confidence(rule: Rule, case: Case) -> str:
    """How sure a rule's cause is; empty where it does not apply."""
    name = rule_name(rule)
    matches = [c for c in catalogue.causes(case) if c.name == name]
    return matches[0].confidence if matches else ""


def rule_name(rule: Rule) -> str:
    return rule.__name__.replace("_", "-")
