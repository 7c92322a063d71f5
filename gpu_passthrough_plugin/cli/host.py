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
from gpu_passthrough_plugin.flow.readiness import Dependency
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
                _dependencies(context),
                lambda: context.known,
            )
        )
        if any(f.status is Status.FAIL for f in found):
            self.status = 1
        return COLUMNS, rows(
            *((f.check, str(f.status), f.detail, f.remedy) for f in found)
        )


def _dependencies(context: Context) -> tuple[Dependency, ...]:
    """Return what the host depends on; nothing for a host elsewhere."""
    if not context.is_here:
        return ()
    return (
        Dependency(
            "libvirt",
            lambda: _check_libvirt(context),
            "start libvirtd, or set [libvirt] connection_uri",
        ),
        Dependency(
            "ledger",
            lambda: _check_ledger(context),
            "run 'gpu-passthrough db sync'; check [allocation] driver, and"
            " [database] or [placement]",
        ),
        Dependency(
            "lock",
            lambda: _check_lock(context),
            "set [coordination] backend_url",
        ),
    )


def _check_libvirt(context: Context) -> str:
    with context.site.connect():
        return context.settings.libvirt.connection_uri


def _check_ledger(context: Context) -> str:
    ledger = context.ledger
    ledger.records(host=context.settings.host)
    return f"{ledger.location} schema {ledger.version()}"


def _check_lock(context: Context) -> str:
    from gpu_passthrough_plugin.host import backend

    with context.site.lock():
        return backend.redacted_url(context.settings.coordination.backend_url)


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
