"""Recorded hosts: from umockdev's text to a tree."""

from __future__ import annotations

import os

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.discovery import parser, replay
from gpu_passthrough_plugin.discovery.recorded import RecordedTree

SEED = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
    "data",
    "seed.umockdev",
)
"""A recording that comes with the package: three cards, two sockets."""

# Ten thousand functions take a few MiB; a device file never ends.
_MAX_BYTES = 256 << 20


def load(path: str) -> RecordedTree:
    """The recorded host in a file.

    :raises ReadFailed: when it cannot be read, or is no recording.
    :raises Faults: with every line that is wrong.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise errors.ReadFailed(
            f"{path} cannot be read ({error.strerror}); wanted a recording"
            " that umockdev-record or 'host record' wrote"
        ) from error
    if len(data) > _MAX_BYTES:
        raise errors.ReadFailed(
            f"{path} is larger than {_MAX_BYTES} bytes; wanted a recording"
            " that umockdev-record or 'host record' wrote"
        )
    return parse(data, path)


def parse(data: bytes, title: str) -> RecordedTree:
    """The recorded host in ``data``.

    :param title: what messages call it.
    :raises ReadFailed: when it is no recording.
    :raises Faults: with every line that is wrong.
    """
    return replay.tree(parser.parse(data, title), title)
