"""The argument that names an instance: a UUID, its beginning, or a name."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from gpu_passthrough_plugin.cli.context import Context
from gpu_passthrough_plugin.cli.output import say

if TYPE_CHECKING:
    from gpu_passthrough_plugin.flow.instance_sources import InstanceSources
    from gpu_passthrough_plugin.model.instance import NamedInstance

HELP = (
    "the instance's UUID, four or more of its first digits, or the name of its"
    " guest on this host"
)


def add(parser: argparse.ArgumentParser) -> None:
    """Add the argument."""
    parser.add_argument("instance", metavar="INSTANCE", help=HELP)


def add_several(parser: argparse.ArgumentParser) -> None:
    """Add the argument, which may be given several times, or not at all."""
    parser.add_argument("instances", metavar="INSTANCE", nargs="*", help=HELP)


def sources(context: Context) -> InstanceSources:
    """Return where instances are recorded, to read these."""
    from gpu_passthrough_plugin.flow.instance_sources import InstanceSources
    from gpu_passthrough_plugin.host.instance_journal import InstanceJournal

    settings = context.settings
    if not context.can_act:
        return InstanceSources(settings.host, context.ledger, None, None)
    folder = os.path.join(context.state_path, "instances")
    return InstanceSources(
        settings.host,
        context.ledger,
        InstanceJournal(folder),
        context.connect_to_read,
    )


def resolve(
    context: Context, text: str, *, is_destructive: bool
) -> NamedInstance:
    """Return the instance that the operator names, and say which it is.

    A whole UUID is not looked up.

    :param is_destructive: whether the command changes something.
    """
    from gpu_passthrough_plugin.flow import instance_sources

    where = sources(context)
    instance = instance_sources.resolve(
        where, text, is_destructive=is_destructive
    )
    if instance.uuid != text:
        say(f"{text!r} is instance {instance}")
    return instance


def named(context: Context, instance: NamedInstance) -> NamedInstance:
    """Return an instance with its name, also if it was given by its UUID."""
    from gpu_passthrough_plugin.flow import instance_sources

    if instance.name:
        return instance
    return instance_sources.named(sources(context), instance.uuid)
