"""Install the libvirt hook's program, or remove it."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.compute.hook import installation, script
from gpu_passthrough_plugin.host import hook, hook_client, ownership
from gpu_passthrough_plugin.host.files import Files
from gpu_passthrough_plugin.model.change import Action, Write
from gpu_passthrough_plugin.model.hook import AGENT_SOCKET

STEP = "libvirt hook"
_LIBVIRT = "/etc/libvirt"
# Source: libvirt, hooks.html.
_OLDEST = 6_005_000


def require_lasting(
    python: str, package: str, libraries: Sequence[str], prefix: str
) -> None:
    """Raise if the hook could disappear, or be changed by others than root.

    :param python: absolute path of the interpreter that would run the hook.
    :param package: absolute path of this product's package.
    :param libraries: absolute paths of the interpreter's own libraries.
    :param prefix: the interpreter's environment.
    :raises Refused: with what to do instead.
    """
    installation.require_lasting(
        installation.ProductInstallation(
            python=python,
            package=package,
            paths=ownership.path_facts((python, *libraries), package),
            caches=hook.caches(),
            is_quickstart=hook.is_made_by_quickstart(prefix),
        )
    )


def is_installed(files: Files) -> bool:
    """Return whether a file is seen in the hook's place."""
    try:
        return files.size(script.PATH) is not None
    except errors.ReadFailed:
        # Only root sees into libvirt's folder on some systems.
        return False


def check(files: Files) -> str:
    """Return the path of the installed hook.

    :raises Refused: when it is not ours, what it runs is gone, or others
        than root can change that.
    :raises ReadFailed: when what it runs cannot be examined.
    """
    text = _present(files)
    if text is None:
        raise errors.Refused(f"{script.PATH} is missing")
    python, entry = script.program_in(text)
    for path in (python, entry):
        if not ownership.exists(path):
            raise errors.Refused(
                f"{path}, which the hook runs, is gone; install the product"
                " again and run 'gpu-passthrough hook install'"
            )
    package, prefix = map(_above, (entry, python))
    require_lasting(python, package, (), prefix)
    return script.PATH


def _above(path: str) -> str:
    return posixpath.dirname(posixpath.dirname(path))


def program(
    python: str, entry: str, config_files: Sequence[str], root: str
) -> script.Program:
    """Return what the hook's script runs.

    :param entry: absolute path of the module that answers libvirt.
    :param root: the folder that the host's files are below.
    """
    options = [w for path in config_files for w in ("--config-file", path)]
    agent = AGENT_SOCKET
    if root != "/":
        options += ["--root", root]
        agent = f"{root}{AGENT_SOCKET}"
    return script.Program(
        python=python,
        entry=entry,
        options=tuple(options),
        client=hook.client_text(),
        answered=(hook_client.PASSED, hook_client.REFUSED),
        agent=agent,
    )


def plan_install(
    files: Files, program: script.Program, libvirt: int | None
) -> Write:
    """Return the change that installs or updates the hook.

    :param libvirt: libvirt's version as a number, such as 9000000; None if
        unknown.
    :raises Refused: when libvirt is too old or absent, or a file is in the
        hook's place that is not ours.
    """
    if libvirt is not None and libvirt < _OLDEST:
        raise errors.Refused(
            f"libvirt {_version(libvirt)} does not run hooks in"
            f" {script.FOLDER}; expected {_version(_OLDEST)} or newer"
        )
    if files.missing(f"{_LIBVIRT}/hooks"):
        raise errors.Refused(
            f"{_LIBVIRT} does not exist; install libvirt's daemon first"
        )
    text = script.script(program)
    return Write(STEP, script.PATH, _present(files), text, script.MODE)


def plan_removal(files: Files) -> Write:
    """Return the change that removes the hook.

    :raises Refused: when the file in the hook's place is not ours.
    """
    return Write(STEP, script.PATH, _present(files), None)


def apply(files: Files, change: Write) -> None:
    """Apply a planned change."""
    if change.becomes is None:
        files.remove(change.path)
        return
    if change.action is not Action.KEEP:
        files.put(change.path, change.becomes, change.mode)
    entry = files.entry(change.path)
    if entry and entry.attributes.mode != change.mode:
        attributes = entry.attributes._replace(mode=change.mode)
        files.dress(change.path, attributes)


def _present(files: Files) -> bytes | None:
    """Return the installed hook; None if there is none."""
    text = files.read(script.PATH)
    if text is not None and not script.is_ours(text):
        raise errors.Refused(
            f"{script.PATH} was not written by this product, or was edited;"
            " move it away, then run this again"
        )
    return text


def _version(number: int) -> str:
    """Return a version number in its dotted form.

    Source: libvirt, virGetVersion.
    """
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"
