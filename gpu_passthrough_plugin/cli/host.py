"""``host``: is it ready, and a recording of it."""

from __future__ import annotations

import argparse
import contextlib
import os
from typing import Any

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli.command import Command, Lister, rows
from gpu_passthrough_plugin.cli.context import Context, say
from gpu_passthrough_plugin.flow import readiness
from gpu_passthrough_plugin.flow.readiness import Door
from gpu_passthrough_plugin.model.finding import Status

COLUMNS = ("Check", "Status", "Detail", "Remedy")


class HostCheck(Lister):
    """Check whether this host is ready; ends with 1 when it is not."""

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        context = self.context
        found = tuple(
            readiness.findings(
                context.tree,
                context.policy,
                _doors(context),
                lambda: context.known,
            )
        )
        if any(f.status is Status.FAIL for f in found):
            self.status = 1
        return COLUMNS, rows(
            *((f.check, str(f.status), f.detail, f.remedy) for f in found)
        )


def _doors(context: Context) -> tuple[Door, ...]:
    """What the host depends on; elsewhere none can be asked."""
    if not context.is_here:
        return ()
    host = context.settings.host
    return (
        Door(
            "libvirt",
            lambda: context.site.connect(),
            "start libvirtd, or set [libvirt] connection_uri",
        ),
        Door(
            "ledger",
            lambda: contextlib.nullcontext(context.ledger.records(host=host)),
            "run 'gpu-passthrough db sync', or set [database] connection",
        ),
        Door(
            "lock",
            lambda: context.site.lock(),
            "set [coordination] backend_url",
        ),
    )


class HostRecord(Command):
    """Write this host as a recording that anyone can replay.

    It holds what this program reads and no more: no serial numbers, no
    MAC addresses.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("file", metavar="FILE")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.discovery import record
        from gpu_passthrough_plugin.flow import boot_state

        reads, faults = boot_state.declared_reads()
        for fault in faults:
            say(f"not recorded for this driver: {fault}")
        save(parsed_args.file, record.written(self.context.tree, reads))


def save(path: str, content: bytes) -> None:
    """Write a file of the operator's, whole or not at all.

    :raises Unavailable: when it cannot be written.
    """
    beside = f"{path}.{os.getpid()}.new"
    try:
        with open(beside, "xb") as file:
            file.write(content)
        os.replace(beside, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise errors.Unavailable(
            f"cannot write {path}: {error.strerror}"
        ) from error
