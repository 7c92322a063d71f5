"""``instance``: list, boot and release guests that hold whole groups."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli import allocation, instance_argument
from gpu_passthrough_plugin.cli.command import Lister, Shower, rows
from gpu_passthrough_plugin.cli.inventory import MALFORMED
from gpu_passthrough_plugin.cli.output import say
from gpu_passthrough_plugin.model.unit import State

if TYPE_CHECKING:
    from gpu_passthrough_plugin.model.instance import InstanceRecord

COLUMNS = ("Instance", "Name", "Host", "Units", "State")
RECORD_COLUMNS = (*COLUMNS, "Guest", "Since", "By")
_NOT_IN_LEDGER = "not in the ledger"
_TIME = "%Y-%m-%dT%H:%M:%SZ"

# libvirt itself takes no larger document.  Source: libvirt,
# src/remote/remote_protocol.x (REMOTE_STRING_MAX).
_DOCUMENT_BYTES = 4 * 1024 * 1024


def read_document(path: str) -> bytes:
    """Return the content of a domain's XML file.

    :raises Invalid: when it cannot be read, or is larger than libvirt takes.
    """
    try:
        with open(path, "rb") as file:
            text = file.read(_DOCUMENT_BYTES + 1)
    except OSError as error:
        raise errors.Invalid(
            f"cannot read {path}: {error.strerror}; expected a file with a"
            " libvirt domain"
        ) from error
    if len(text) > _DOCUMENT_BYTES:
        raise errors.Invalid(
            f"{path} is larger than {_DOCUMENT_BYTES} bytes, libvirt's limit;"
            " expected a file with a libvirt domain"
        )
    return text


def _row(record: InstanceRecord) -> tuple[object, ...]:
    """Return an instance's row, under ``RECORD_COLUMNS``."""
    records = record.allocation.units if record.allocation else ()
    units = [str(r.unit.key.address) for r in records]
    units += [unit.address for unit in record.malformed]
    states = [*map(str, record.states), *[MALFORMED][: len(record.malformed)]]
    since = None
    if record.since_s is not None:
        since = datetime.fromtimestamp(record.since_s, UTC).strftime(_TIME)
    return (
        record.uuid,
        record.name,
        record.host,
        tuple(units),
        ",".join(states) or _NOT_IN_LEDGER,
        str(record.guest),
        since,
        record.claimed_by,
    )


class InstanceList(Lister):
    """List instances of all hosts: their guests, units, and who claimed these.

    Names, and states of guests, are known of this host only.
    """

    reads_only = True
    column_names = RECORD_COLUMNS
    empty = "no instance holds a unit; see 'gpu-passthrough inventory list'"

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.flow import instance_sources

        where = instance_argument.sources(self.context)
        records = instance_sources.records(where, say)
        return RECORD_COLUMNS, rows(*map(_row, records))


class InstanceShow(Shower):
    """Show one instance: its guest, its units, and their functions."""

    reads_only = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        instance_argument.add(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.flow import instance_sources

        where = instance_argument.sources(self.context)
        record = instance_sources.record(where, parsed_args.instance, say)
        allocation = record.allocation
        fields = dict(zip(RECORD_COLUMNS, _row(record), strict=True))
        fields["Request"] = allocation.request if allocation else ""
        fields["Functions"] = tuple(
            str(f.address)
            for r in (allocation.units if allocation else ())
            for f in r.unit.functions
        )
        return self.fields(fields)


class InstanceBoot(Shower):
    """Claim units, start a guest with them, and check the guest.

    A step that fails rolls back the steps before it.
    """

    column_names = COLUMNS

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "domain",
            metavar="DOMAIN.xml",
            help="file with libvirt's domain XML",
        )
        allocation.add_request(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.flow import boot
        from gpu_passthrough_plugin.formats import domain_xml

        context = self.context
        path = parsed_args.domain
        domain = domain_xml.parse(read_document(path), path)
        request = allocation.read_request(
            context, parsed_args, domain.numa_nodes
        )
        booted = boot.boot(context.host_context, domain, request)
        units = tuple(str(r.unit.key.address) for r in booted.units)
        states = ",".join(booted.states)
        values = (booted.consumer, domain.name, booted.host, units, states)
        return self.fields(dict(zip(COLUMNS, values, strict=True)))


class InstanceRelease(Shower):
    """Stop a guest; reset, check and free its units.

    The exit status is 1 if a unit was quarantined.
    """

    column_names = COLUMNS

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        instance_argument.add(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.flow import release

        context = self.context.host_context
        uuid, name = instance_argument.resolve(
            self.context, parsed_args.instance, is_destructive=True
        )
        records = release.release(context, uuid)
        if any(r.state is State.QUARANTINED for r in records):
            self.status = 1
        units = tuple(str(r.unit.key.address) for r in records)
        states = ",".join(sorted({r.state for r in records})) or State.FREE
        values = (uuid, name, context.host, units, str(states))
        return self.fields(dict(zip(COLUMNS, values, strict=True)))
