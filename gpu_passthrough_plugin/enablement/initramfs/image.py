"""One kernel's image: what builds it, and what has to be in it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model.change import BESIDE, Build
from gpu_passthrough_plugin.model.enablement import InitramfsContent
from gpu_passthrough_plugin.model.installation import Installation, Kernel
from gpu_passthrough_plugin.model.reading import Unknown


def build(
    kernel: Kernel,
    argv: tuple[str, ...],
    lister: str,
    content: InitramfsContent,
    script: str,
) -> Build | None:
    """What builds it beside the present one; None where it has no own.

    :param argv: the builder's; ``lister`` is the path of what lists.
    :param script: a regular expression for the early script's path.
    """
    if kernel.image is None:
        return None
    return Build(
        step="build the image anew",
        image=kernel.image,
        kernel=kernel.release,
        argv=argv,
        listing=(lister, BESIDE),
        wanted=tuple(_wanted(kernel, content, script)),
        inputs="",
    )


def tool(installation: Installation, name: str) -> str:
    """A command's path.

    :raises Refused: when it is not installed.
    """
    path = installation.tools.get(name)
    if path is None:
        raise errors.Refused(
            f"there is no command {name}, which builds or lists this host's"
            " images: install it, or name what builds them with [enablement]"
            " initramfs"
        )
    return path


def _wanted(
    kernel: Kernel, content: InitramfsContent, script: str
) -> Iterator[str]:
    """Patterns for lines of the listing.

    Where a kernel does not say what is built in, nothing shows that it can
    do without the modules: an image that lacks them is not put in place.
    """
    for name in content.modules:
        if isinstance(kernel.builtin, Unknown) or name not in kernel.builtin:
            yield rf"/{name.replace('_', '[-_]')}\.ko\b"
    for path in content.config_files:
        yield rf"(^|[\s/]){re.escape(path.lstrip('/'))}$"
    if content.script:
        yield script
