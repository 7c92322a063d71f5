"""Hosts, targets and cases from a few words."""

from __future__ import annotations

from collections.abc import Mapping

from gpu_passthrough_plugin.enablement.driver import BindingCase
from gpu_passthrough_plugin.model.change import Write
from gpu_passthrough_plugin.model.change_history import Target
from gpu_passthrough_plugin.model.function import Function
from gpu_passthrough_plugin.model.installation import Installation
from gpu_passthrough_plugin.model.reading import known
from tests.trees import boot
from tests.trees.host import Host
from tests.trees.installed import installation
from tests.unit.isolation.values import audio, gpu

RELEASE = "6.1.0-18-amd64"


def host(
    files: Mapping[str, str] | None = None, *, is_vfio_builtin: bool = False
) -> Host:
    """One Debian kernel, and these files."""
    made = Host(RELEASE)
    boot.kernel(
        made,
        RELEASE,
        f"initrd.img-{RELEASE}",
        is_vfio_builtin=is_vfio_builtin,
    )
    for path, text in (files or {}).items():
        made.file(path.removeprefix("/"), text)
    return made


def installed(
    files: Mapping[str, str] | None = None, *, is_vfio_builtin: bool = False
) -> Installation:
    return installation(host(files, is_vfio_builtin=is_vfio_builtin).tree())


def target(of: Function, *modules: str) -> Target:
    """The function as it is selected; a gpu is a primary."""
    return Target(
        of.address,
        known(of.vendor_id) or 0,
        known(of.product_id) or 0,
        known(of.class_code) or 0,
        of.is_display,
        modules,
    )


CARD = (target(gpu(), "nouveau"), target(audio(), "snd_hda_intel"))


def case(
    *others: Function,
    targets: tuple[Target, ...] = CARD,
    files: Mapping[str, str] | None = None,
    is_vfio_builtin: bool = False,
) -> BindingCase:
    """The card at 06:00 is selected; ``others`` stay."""
    there = installed(files, is_vfio_builtin=is_vfio_builtin)
    return BindingCase(targets, others, there)


def text(write: Write) -> str:
    assert write.becomes is not None
    return write.becomes.decode()


def written(writes: tuple[Write, ...]) -> dict[str, str | None]:
    """What every path becomes."""
    return {w.path: None if w.becomes is None else text(w) for w in writes}
