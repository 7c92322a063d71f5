"""mkinitcpio's configuration and presets, which are bash scripts.

Source: mkinitcpio(8); mkinitcpio 41, process_preset and arrayize_config.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from gpu_passthrough_plugin.formats import shell_assignments
from gpu_passthrough_plugin.formats.shell_assignments import (
    Unevaluated,
    Value,
    Variables,
)
from gpu_passthrough_plugin.model.installation import (
    Folder,
    Installation,
    Reads,
)

PATH = "/etc/mkinitcpio.conf"
DROP_INS = f"{PATH}.d"
"""Read since version 36, and only where no preset names a configuration."""
PRESETS = "/etc/mkinitcpio.d"
_SUFFIX, _PRESET_SUFFIX = ".conf", ".preset"
READS = Reads(
    files=(PATH,),
    folders=(
        Folder(DROP_INS, (_SUFFIX,)),
        Folder(PRESETS, (_PRESET_SUFFIX,)),
    ),
)


class Preset(NamedTuple):
    """How one image is built.

    :param path: of the file that says so.
    :param image: empty where only a unified kernel image is built.
    :param unified: path of the unified kernel image; empty for none.
    :param config: empty for mkinitcpio's own configuration and drop-ins.
    :param unevaluated: a line that makes one of these something that only
        bash can tell, and that is empty here; empty for none.
    """

    path: str
    image: str = ""
    unified: str = ""
    config: str = ""
    options: tuple[str, ...] = ()
    unevaluated: str = ""


def drop_ins(installation: Installation) -> tuple[str, ...]:
    """Return the paths of the drop-ins, in order."""
    return installation.paths(DROP_INS, _SUFFIX)


def preset_files(installation: Installation) -> tuple[str, ...]:
    """Return the paths of the files that presets are in."""
    return installation.paths(PRESETS, _PRESET_SUFFIX)


def hooks(texts: Iterable[str]) -> tuple[str, ...] | Unevaluated:
    """Return the hooks that a configuration and its drop-ins come to.

    :param texts: in the order in which they are read.
    """
    variables = Variables()
    for text in texts:
        variables = shell_assignments.evaluate(text, variables)
    value = variables.value("HOOKS")
    return tuple(value.split()) if isinstance(value, str) else value


def presets(installation: Installation) -> tuple[Preset, ...]:
    """Return every preset that is in use, by file."""
    return tuple(
        preset
        for path in preset_files(installation)
        for preset in presets_in(path, installation.text(path) or "")
    )


def presets_in(path: str, text: str) -> Iterator[Preset]:
    """Yield the presets of one file that are in use, in order."""
    variables = shell_assignments.evaluate(text)
    names = variables.value("PRESETS")
    if isinstance(names, Unevaluated):
        yield Preset(path, unevaluated=names.line)
        return
    for name in _words(names):
        yield _preset(path, name, variables)


def _preset(path: str, name: str, variables: Variables) -> Preset:
    # The older name counts only where the newer one is not there.
    has_uki = f"{name}_uki" in variables.values
    image, unified, config, default, options = (
        variables.value(key)
        for key in (
            f"{name}_image",
            f"{name}_uki" if has_uki else f"{name}_efi_image",
            f"{name}_config",
            "ALL_config",
            f"{name}_options",
        )
    )
    lines = (
        value.line
        for value in (image, unified, config, default, options)
        if isinstance(value, Unevaluated)
    )
    return Preset(
        path=path,
        image=_first(image),
        unified=_first(unified),
        config=_first(config) or _first(default),
        options=_words(options),
        unevaluated=next(lines, ""),
    )


def _words(value: Value) -> tuple[str, ...]:
    """Return the elements of an array, or the words of a string."""
    if isinstance(value, Unevaluated):
        return ()
    return tuple(value.split()) if isinstance(value, str) else value


def _first(value: Value) -> str:
    """Return what bash makes of a name without an index."""
    if isinstance(value, Unevaluated):
        return ""
    return value if isinstance(value, str) else "".join(value[:1])
