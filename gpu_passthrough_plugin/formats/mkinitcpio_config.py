"""How mkinitcpio builds each image: ``/etc/mkinitcpio.d/*.preset``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple

from gpu_passthrough_plugin.model.installation import Installation

FOLDER = "/etc/mkinitcpio.d"
_ASSIGNED = re.compile(r"^[ \t]*(\w+)=(\([^)]*\)|[^\n]*)", re.MULTILINE)


class Preset(NamedTuple):
    """How one image is built.

    :param path: of the file that says so.
    :param image: empty where a unified kernel image is built instead.
    :param unified: path of the unified kernel image; empty for none.
    :param config: empty for mkinitcpio's own and its drop-ins.
    """

    path: str
    image: str
    unified: str
    config: str
    options: tuple[str, ...]


def presets(found: Installation) -> Iterator[Preset]:
    """Every preset that is in use.

    Source: mkinitcpio(8), and its process_preset.
    """
    for path in found.paths(FOLDER, ".preset"):
        values = _values(found.text(path) or "")
        for name in values.get("PRESETS", ()):
            one = {
                key: " ".join(values.get(f"{name}_{key}", ()))
                for key in ("image", "uki", "efi_image", "config")
            }
            yield Preset(
                path=path,
                image=one["image"],
                unified=one["uki"] or one["efi_image"],
                config=one["config"] or " ".join(values.get("ALL_config", ())),
                options=tuple(
                    word
                    for value in values.get(f"{name}_options", ())
                    for word in value.split()
                ),
            )


def _values(text: str) -> dict[str, tuple[str, ...]]:
    """Words that bash would assign, where these are plain text."""
    return {name: words(value) for name, value in _ASSIGNED.findall(text)}


def words(value: str) -> tuple[str, ...]:
    """The words of a value or an array, without comments."""
    try:
        return tuple(shlex.split(value.strip().strip("()"), comments=True))
    except ValueError:
        return ()
