"""dracut, which builds images on Red Hat, Fedora and SUSE, and elsewhere."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement import own_files
from gpu_passthrough_plugin.enablement.driver import (
    InitramfsContent,
    InitramfsDriver,
)
from gpu_passthrough_plugin.enablement.initramfs import image
from gpu_passthrough_plugin.enablement.initramfs.initramfs_tools import (
    InitramfsTools,
)
from gpu_passthrough_plugin.enablement.initramfs.mkinitcpio import Mkinitcpio
from gpu_passthrough_plugin.enablement.own_files import OwnFile
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.model.change import NEW_PATH, Build, Write
from gpu_passthrough_plugin.model.installation import (
    Folder,
    Installation,
    Kernel,
    Reads,
)

CONFIGURATION = "/etc/dracut.conf.d/90-gpu-passthrough.conf"
_MODULE = "/usr/lib/dracut/modules.d/90gpu-passthrough"
SETUP = f"{_MODULE}/module-setup.sh"
SCRIPT = f"{_MODULE}/gpu-passthrough.sh"
_OSTREE = "/run/ostree-booted"

# Hooks are sourced; those for pre-udev run before udev loads any driver.
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


class Dracut(InitramfsDriver):
    """A dracut module with a ``pre-udev`` hook, and a drop-in."""

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
    requirements = Requirements(arguments=("rd.driver.pre=vfio-pci",))

    def claims(self, installation: Installation) -> str | None:
        path = installation.tools.get("dracut")
        others = (InitramfsTools(), Mkinitcpio())
        if path is None or any(other.claims(installation) for other in others):
            return None
        return f"{path} is installed"

    def files(
        self, installation: Installation, content: InitramfsContent
    ) -> tuple[Write, ...]:
        """Return a drop-in and, for a script, a module of dracut's.

        :raises Refused: for an early script where ``/usr`` is read-only.
        """
        if content.script and _OSTREE in installation.files:
            raise errors.Refused(
                f"/usr is read-only here ({_OSTREE} exists), so that dracut"
                " cannot be given an early script: use --binding ids"
            )
        has_script = bool(content.script)
        text = "".join(_configuration(installation.kernels, content))
        return own_files.writes(
            installation,
            OwnFile(
                "vfio modules in initramfs",
                CONFIGURATION,
                own_files.HEADER + text if text else None,
            ),
            OwnFile(
                "early script in initramfs",
                SETUP,
                _SETUP if has_script else None,
                0o755,
            ),
            OwnFile(
                "bind before udev",
                SCRIPT,
                f"#!/bin/sh\n{content.script}" if has_script else None,
                0o755,
            ),
        )

    def build(
        self,
        installation: Installation,
        kernel: Kernel,
        content: InitramfsContent,
    ) -> Build | None:
        return image.build(
            kernel,
            (
                image.tool(installation, "dracut"),
                "--force",
                NEW_PATH,
                kernel.release,
            ),
            image.tool(installation, "lsinitrd"),
            content,
            r"/hooks/pre-udev/00-gpu-passthrough\.sh$",
        )


def _configuration(
    kernels: Sequence[Kernel], content: InitramfsContent
) -> Iterator[str]:
    """Yield the lines of the drop-in.

    Generic images hold no ``/etc/modprobe.d``; those for this host do.
    Source: dracut.conf(5), where the blanks within the quotes matter.
    """
    modules = own_files.loadable(kernels, content.modules)
    if modules:
        yield f'force_drivers+=" {" ".join(modules)} "\n'
    if content.config_files:
        yield f'install_items+=" {" ".join(content.config_files)} "\n'
    if content.script:
        yield 'add_dracutmodules+=" gpu-passthrough "\n'
