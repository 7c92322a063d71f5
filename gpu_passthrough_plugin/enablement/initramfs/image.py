"""One kernel's initramfs: what builds it, and what it has to hold."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement.driver import InitramfsContent
from gpu_passthrough_plugin.model.change import NEW_PATH, Build
from gpu_passthrough_plugin.model.installation import Installation, Kernel
from gpu_passthrough_plugin.model.reading import Unknown


def build(
    kernel: Kernel,
    argv: tuple[str, ...],
    lister: str,
    content: InitramfsContent,
    script: str,
) -> Build | None:
    """Return what builds an image; None where the kernel has none.

    :param argv: of the builder, with ``NEW_PATH`` for the new image.
    :param lister: path of the command that lists an image's files.
    :param script: a regular expression for the path of the early script.
    """
    if kernel.image is None:
        return None
    return Build(
        step="rebuild initramfs",
        image=kernel.image,
        kernel=kernel.release,
        argv=argv,
        list_argv=(lister, NEW_PATH),
        required_patterns=tuple(_required_patterns(kernel, content, script)),
        inputs="",
    )


def tool(installation: Installation, name: str) -> str:
    """Return the path of a command.

    :raises Refused: when it is not installed.
    """
    path = installation.tools.get(name)
    if path is None:
        raise errors.Refused(
            f"command {name} not found; it builds or lists this host's"
            " initramfs images: install it, or set [enablement] initramfs to"
            " the driver of what builds them"
        )
    return path


def _required_patterns(
    kernel: Kernel, content: InitramfsContent, script: str
) -> Iterator[str]:
    """Yield patterns, each for a line of the listing.

    Where it is not known what is built into a kernel, nothing shows that it
    can do without the modules: an image that lacks these is not put in place.
    """
    for name in content.modules:
        if isinstance(kernel.builtin, Unknown) or name not in kernel.builtin:
            yield rf"/{name.replace('_', '[-_]')}\.ko\b"
    for path in content.config_files:
        yield rf"(^|[\s/]){re.escape(path.lstrip('/'))}$"
    if content.script:
        yield script
