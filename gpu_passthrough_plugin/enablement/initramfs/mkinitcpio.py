"""mkinitcpio, which builds images on Arch."""

from __future__ import annotations

import posixpath
import re

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement import own_files
from gpu_passthrough_plugin.enablement.driver import (
    InitramfsContent,
    InitramfsDriver,
)
from gpu_passthrough_plugin.enablement.initramfs import image
from gpu_passthrough_plugin.enablement.own_files import OwnFile
from gpu_passthrough_plugin.formats import mkinitcpio_config
from gpu_passthrough_plugin.formats.shell_assignments import Unevaluated
from gpu_passthrough_plugin.model.change import NEW_PATH, Build, Write
from gpu_passthrough_plugin.model.installation import (
    Folder,
    Installation,
    Kernel,
    Reads,
)

CONFIGURATION = mkinitcpio_config.PATH
DROP_IN = f"{mkinitcpio_config.DROP_INS}/90-gpu-passthrough.conf"
INSTALL = "/etc/initcpio/install/gpu-passthrough"
HOOK = "/etc/initcpio/hooks/gpu-passthrough"

_END = "# gpu-passthrough: end\n"
_BLOCK = re.compile(
    rf"\n?{re.escape(own_files.HEADER)}.*?{re.escape(_END)}", re.DOTALL
)
_INSTALL = f"""\
#!/bin/bash
{own_files.HEADER}
build() {{
    add_runscript
}}

help() {{
    echo "Reserves functions for vfio-pci before udev loads a driver."
}}
"""


class Mkinitcpio(InitramfsDriver):
    """Modules first, and an early hook before that of udev.

    Fallback images of the presets are not rebuilt: they are the way back.
    """

    name = "mkinitcpio"
    # Source: mkinitcpio(8), whose images are named by package.
    reads = mkinitcpio_config.READS | Reads(
        folders=(
            Folder(posixpath.dirname(INSTALL)),
            Folder(posixpath.dirname(HOOK)),
        ),
        tools=("mkinitcpio", "lsinitcpio", "dracut", "mkinitramfs"),
        images=("initramfs-{package}.img",),
    )

    def claims(self, installation: Installation) -> str | None:
        path = installation.tools.get("mkinitcpio")
        is_other = (
            "dracut" in installation.tools
            or "mkinitramfs" in installation.tools
        )
        preset = mkinitcpio_config.preset_files(installation)[:1]
        if path is None or (is_other and not preset):
            return None
        return f"{path} is installed" + "".join(f", and {p}" for p in preset)

    def files(
        self, installation: Installation, content: InitramfsContent
    ) -> tuple[Write, ...]:
        """Return a hook for a script, and lines of mkinitcpio.conf.

        :raises Refused: for an early script where systemd runs in the
            image; where unified kernel images are built, or images by
            another configuration.
        """
        _refuse_presets(installation)
        if content.script:
            _refuse_no_udev(installation)
        hook = f"run_earlyhook() {{\n{content.script}}}\n"
        has_script = bool(content.script)
        return own_files.writes(
            installation,
            OwnFile(
                "early script in initramfs",
                INSTALL,
                _INSTALL if has_script else None,
            ),
            OwnFile(
                "bind before udev",
                HOOK,
                f"#!/usr/bin/ash\n{hook}" if has_script else None,
            ),
            *_configured(installation, _block(content)),
        )

    def build(
        self,
        installation: Installation,
        kernel: Kernel,
        content: InitramfsContent,
    ) -> Build | None:
        argv = (image.tool(installation, "mkinitcpio"), "-k", kernel.release)
        for preset in mkinitcpio_config.presets(installation):
            if preset.image and preset.image == kernel.image:
                config = ("-c", preset.config) if preset.config else ()
                argv = (*argv, *config, *preset.options)
        return image.build(
            kernel,
            (*argv, "-g", NEW_PATH),
            image.tool(installation, "lsinitcpio"),
            content,
            r"(^|/)hooks/gpu-passthrough$",
        )


def _configured(installation: Installation, block: str) -> tuple[OwnFile, ...]:
    """Return what puts the block where mkinitcpio reads it, and only there."""
    step = "vfio modules in initramfs"
    has_drop_ins = mkinitcpio_config.DROP_INS in installation.folders
    if has_drop_ins and not any(
        preset.config for preset in mkinitcpio_config.presets(installation)
    ):
        drop_in, appended = block, ""
    else:
        _refuse_other_config(installation)
        drop_in, appended = "", block
    return (
        OwnFile(step, DROP_IN, drop_in or None),
        *_appended(installation, step, appended),
    )


def _appended(
    installation: Installation, step: str, block: str
) -> tuple[OwnFile, ...]:
    """Return what makes the block the end of the configuration.

    An earlier block is removed.
    """
    text = installation.text(CONFIGURATION)
    if text is None:
        raise errors.Refused(
            f"{CONFIGURATION} does not exist, and mkinitcpio builds images by"
            " it: restore it"
        )
    rest = _BLOCK.sub("", text)
    if block:
        end = "" if rest.endswith("\n") else "\n"
        rest = f"{rest}{end}\n{block}"
    elif rest == text:
        return ()
    return (OwnFile(step, CONFIGURATION, rest),)


def _block(content: InitramfsContent) -> str:
    """Return lines of bash that keep what was assigned before.

    An array may be a string, as it was in older configurations.
    """
    if not content.modules:
        return ""
    rows = [f"MODULES=({' '.join(content.modules)} ${{MODULES[*]}})"]
    if content.config_files:
        rows.append(f"FILES=(${{FILES[*]}} {' '.join(content.config_files)})")
    if content.script:
        rows += (
            '_gpupt=" ${HOOKS[*]} "',
            "HOOKS=(${_gpupt/ udev / gpu-passthrough udev })",
            "unset _gpupt",
        )
    return own_files.HEADER + "".join(f"{row}\n" for row in rows) + _END


def _refuse_no_udev(installation: Installation) -> None:
    """Raise if no hook ``udev`` runs: early hooks run before it alone.

    Source: mkinitcpio(8), HOOKS; its install/systemd.
    """
    paths = (CONFIGURATION, *mkinitcpio_config.drop_ins(installation))
    hooks = mkinitcpio_config.hooks(
        _BLOCK.sub("", installation.text(path) or "")
        for path in paths
        if path != DROP_IN
    )
    if isinstance(hooks, Unevaluated):
        raise errors.Refused(
            f"only bash can evaluate '{hooks.line}' in {CONFIGURATION} or a"
            " drop-in, so that it is not known whether HOOKS has udev: write"
            " the names of hooks there, or use --binding ids"
        )
    if "systemd" in hooks:
        raise errors.Refused(
            f"HOOKS in {CONFIGURATION} has systemd, and early hooks do not"
            " run with it: use --binding ids, or replace it by the hook udev"
        )
    if "udev" not in hooks:
        raise errors.Refused(
            f"HOOKS in {CONFIGURATION} has no udev, which the early hook has"
            " to run before: add it, or use --binding ids"
        )


def _refuse_presets(installation: Installation) -> None:
    for preset in mkinitcpio_config.presets(installation):
        if preset.unevaluated:
            raise errors.Refused(
                f"{preset.path}: only bash can evaluate"
                f" '{preset.unevaluated}', so that it is not known how images"
                " are built: write plain text there"
            )
        if preset.unified:
            raise errors.Refused(
                f"{preset.path} builds the unified kernel image"
                f" {preset.unified}, and only plain images can be replaced"
                " safely: have it build one (default_image=) instead"
            )


def _refuse_other_config(installation: Installation) -> None:
    for preset in mkinitcpio_config.presets(installation):
        if preset.config not in ("", CONFIGURATION):
            raise errors.Refused(
                f"{preset.path} builds {preset.image} by {preset.config}, and"
                f" only {CONFIGURATION} can be changed safely: remove that"
                " configuration from the preset"
            )
