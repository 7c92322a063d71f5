"""dracut, of Red Hat, Fedora and SUSE, and at hand elsewhere."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement import own_files
from gpu_passthrough_plugin.enablement.driver import Initramfs
from gpu_passthrough_plugin.enablement.initramfs import image
from gpu_passthrough_plugin.enablement.initramfs.initramfs_tools import (
    InitramfsTools,
)
from gpu_passthrough_plugin.enablement.initramfs.mkinitcpio import Mkinitcpio
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.model.change import BESIDE, Build, Write
from gpu_passthrough_plugin.model.enablement import Early
from gpu_passthrough_plugin.model.installation import Installation, Kernel
from gpu_passthrough_plugin.model.reads import Folder, Reads

CONFIGURATION = "/etc/dracut.conf.d/90-gpu-passthrough.conf"
_MODULE = "/usr/lib/dracut/modules.d/90gpu-passthrough"
SETUP = f"{_MODULE}/module-setup.sh"
SCRIPT = f"{_MODULE}/gpu-passthrough.sh"
_OSTREE = "/run/ostree-booted"

# Hooks are sourced; those of pre-udev run before udev loads any driver.
# Source: dracut.modules(7), dracut.bootup(7).
_SETUP = f"""\
#!/bin/bash
{own_files.HEADER}
check() {{
    return 0
}}

depends() {{
    return 0
}}

install() {{
    inst_hook pre-udev 00 "${{moddir:?}}/gpu-passthrough.sh"
}}
"""


class Dracut(Initramfs):
    """A module of dracut's with a ``pre-udev`` hook, and a drop-in."""

    name = "dracut"
    # Source: dracut(8); Debian, 50-dracut.install; SUSE, mkinitrd(8), for
    # the image's name on each.
    reads = (
        Reads(
            files=("/etc/dracut.conf", _OSTREE),
            folders=(
                Folder(posixpath.dirname(CONFIGURATION), (".conf",)),
                Folder(_MODULE),
            ),
            tools=("dracut", "lsinitrd"),
            images=(
                "initrd.img-{release}",
                "initramfs-{release}.img",
                "initrd-{release}",
            ),
        )
        | InitramfsTools.reads
        | Mkinitcpio.reads
    )
    arguments = Requirements(arguments=("rd.driver.pre=vfio-pci",))

    def claims(self, found: Installation) -> str | None:
        path = found.tools.get("dracut")
        others = (InitramfsTools(), Mkinitcpio())
        if path is None or any(other.claims(found) for other in others):
            return None
        return f"{path} is installed"

    def files(self, found: Installation, early: Early) -> tuple[Write, ...]:
        """See ``Initramfs.files``.

        :raises Refused: for an early script where ``/usr`` is an image.
        """
        if early.script and _OSTREE in found.files:
            raise errors.Refused(
                f"{_OSTREE} says that /usr is read-only here, where dracut"
                " would have to find the early script: use --binding ids"
            )
        has_script = bool(early.script)
        text = "".join(_configuration(found, early))
        return (
            *own_files.write(
                found,
                "vfio in the image",
                CONFIGURATION,
                own_files.HEADER + text if text else None,
            ),
            *own_files.write(
                found,
                "early script in the image",
                SETUP,
                _SETUP if has_script else None,
                0o755,
            ),
            *own_files.write(
                found,
                "bind before udev",
                SCRIPT,
                f"#!/bin/sh\n{early.script}" if has_script else None,
                0o755,
            ),
        )

    def build(
        self, found: Installation, kernel: Kernel, early: Early
    ) -> Build | None:
        return image.build(
            kernel,
            (image.tool(found, "dracut"), "--force", BESIDE, kernel.release),
            image.tool(found, "lsinitrd"),
            early,
            r"/hooks/pre-udev/00-gpu-passthrough\.sh$",
        )


def _configuration(found: Installation, early: Early) -> Iterator[str]:
    """Lines of the drop-in.

    ``/etc/modprobe.d`` is in images for this host only, not in general
    ones.  Source: dracut.conf(5), where the blanks matter.
    """
    modules = own_files.loadable(found, early.modules)
    if modules:
        yield f'force_drivers+=" {" ".join(modules)} "\n'
    if early.configuration:
        yield f'install_items+=" {" ".join(early.configuration)} "\n'
    if early.script:
        yield 'add_dracutmodules+=" gpu-passthrough "\n'
