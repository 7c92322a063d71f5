"""initramfs-tools, which builds images on Debian, Ubuntu and Proxmox."""

from __future__ import annotations

from gpu_passthrough_plugin.enablement import own_files
from gpu_passthrough_plugin.enablement.driver import (
    InitramfsContent,
    InitramfsDriver,
)
from gpu_passthrough_plugin.enablement.initramfs import image
from gpu_passthrough_plugin.enablement.own_files import OwnFile
from gpu_passthrough_plugin.model.change import NEW_PATH, Build, Write
from gpu_passthrough_plugin.model.installation import (
    Folder,
    Installation,
    Kernel,
    Reads,
)

_FOLDER = "/etc/initramfs-tools"
# Scripts that do not require one another run in the order of their names:
# this one before "udev", which loads drivers.  Source: initramfs-tools(7);
# scripts/functions (get_prereq_pairs), which leaves the order to tsort.
SCRIPT = f"{_FOLDER}/scripts/init-top/gpu-passthrough"
HOOK = f"{_FOLDER}/hooks/gpu-passthrough"
# Both initramfs-tools and dracut install a script here that builds an image
# for each new kernel.
_KERNEL_HOOKS = "/etc/kernel/postinst.d"

_FRAME = f"""\
#!/bin/sh
{own_files.HEADER}PREREQ=""

prereqs() {{
    echo "$PREREQ"
}}

case "$1" in
prereqs)
    prereqs
    exit 0
    ;;
esac

"""


class InitramfsTools(InitramfsDriver):
    """An ``init-top`` script, and a hook that adds the modules.

    Every image holds ``/etc/modprobe.d`` without any configuration.
    """

    name = "initramfs_tools"
    # Source: update-initramfs(8), for the image's name.
    reads = Reads(
        files=(f"{_FOLDER}/initramfs.conf", f"{_FOLDER}/modules"),
        folders=(
            Folder(f"{_FOLDER}/conf.d"),
            Folder(f"{_FOLDER}/hooks"),
            Folder(f"{_FOLDER}/scripts/init-top"),
            Folder(_KERNEL_HOOKS, ()),
        ),
        tools=("mkinitramfs", "lsinitramfs"),
        images=("initrd.img-{release}",),
    )

    def claims(self, installation: Installation) -> str | None:
        path = installation.tools.get("mkinitramfs")
        if path is None:
            return None
        hooks = installation.names(_KERNEL_HOOKS)
        if "dracut" in hooks and "initramfs-tools" not in hooks:
            return None
        return f"{path} is installed"

    def files(
        self, installation: Installation, content: InitramfsContent
    ) -> tuple[Write, ...]:
        script = f"{_FRAME}{content.script}" if content.script else None
        hook = _hook(content.modules) if content.modules else None
        return own_files.writes(
            installation,
            OwnFile("bind before udev", SCRIPT, script, 0o755),
            OwnFile("vfio modules in initramfs", HOOK, hook, 0o755),
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
                image.tool(installation, "mkinitramfs"),
                "-o",
                NEW_PATH,
                kernel.release,
            ),
            image.tool(installation, "lsinitramfs"),
            content,
            r"(^|/)scripts/init-top/gpu-passthrough$",
        )


def _hook(modules: tuple[str, ...]) -> str:
    """Return a hook; ``force_load`` ignores modules that are built in."""
    loads = "".join(f"force_load {name}\n" for name in modules)
    return f"{_FRAME}. /usr/share/initramfs-tools/hook-functions\n{loads}"
