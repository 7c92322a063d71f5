"""``instance``: list, boot and release guests that hold whole groups."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli import allocation, instance_argument, task
from gpu_passthrough_plugin.cli.command import (
    Lister,
    Shower,
    add_dry_run,
    rows,
)
from gpu_passthrough_plugin.cli.inventory import MALFORMED
from gpu_passthrough_plugin.cli.output import say
from gpu_passthrough_plugin.formats import timestamp
from gpu_passthrough_plugin.model.host_task import TaskKind
from gpu_passthrough_plugin.model.unit import State

if TYPE_CHECKING:
    from gpu_passthrough_plugin.flow.context import HostContext
    from gpu_passthrough_plugin.flow.release import Release
    from gpu_passthrough_plugin.model.allocation import Allocation
    from gpu_passthrough_plugin.model.instance import (
        InstanceRecord,
        NamedInstance,
    )
    from gpu_passthrough_plugin.model.unit import Unit, UnitRecord

COLUMNS = ("Instance", "Name", "Host", "Units", "State")
RECORD_COLUMNS = (*COLUMNS, "Guest", "Since", "By", "Definition")
RELEASE_COLUMNS = (*COLUMNS, "Action", "Reason")
_NOT_IN_LEDGER = "not in the ledger"

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
        since = timestamp.shown(int(record.since_s * 1_000_000))
    return (
        record.uuid,
        record.name,
        record.host,
        tuple(units),
        ",".join(states) or _NOT_IN_LEDGER,
        str(record.guest),
        since,
        record.claimed_by,
        record.definition,
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

    Without --define the guest is transient: libvirt forgets it when it, or
    the host, goes down. A step that fails rolls back the steps before it.
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
        parser.add_argument(
            "--define",
            action="store_true",
            help="define the domain in libvirt, with its units: it can be"
            " started again, and keeps its claim until it is detached or"
            " released",
        )
        parser.add_argument(
            "--autostart",
            action="store_true",
            help="define the domain, and have libvirt start it with the host",
        )
        add_dry_run(parser, "which units would be taken")
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
        keeping = boot.Keeping.TRANSIENT
        if parsed_args.autostart:
            keeping = boot.Keeping.AUTOSTARTED
        elif parsed_args.define:
            keeping = boot.Keeping.DEFINED
        host = context.host_context
        if parsed_args.dry_run:
            planned = boot.plan(host, domain, request, keeping)
            say(f"nothing was changed; {_BOOT_PLANS[keeping.name]}")
            return self.fields(planned_fields(host, domain.name, *planned))
        booted = boot.boot(host, domain, request, keeping)
        return self.fields(allocation_fields(domain.name, booted))


_BOOT_PLANS = {
    "TRANSIENT": "the guest would be started, and be transient",
    "DEFINED": "the domain would be defined, and started",
    "AUTOSTARTED": "the domain would be defined, started, and started with"
    " the host from then on",
}


def allocation_fields(name: str, held: Allocation) -> dict[str, object]:
    """Return what an instance holds, under ``COLUMNS``."""
    units = tuple(str(r.unit.key.address) for r in held.units)
    values = (held.consumer, name, held.host, units, ",".join(held.states))
    return dict(zip(COLUMNS, values, strict=True))


def planned_fields(
    context: HostContext, name: str, uuid: str, units: Sequence[Unit]
) -> dict[str, object]:
    """Return what an instance would hold, with the units' present states."""
    addresses = tuple(str(unit.key.address) for unit in units)
    states = sorted({context.ledger.unit(u.key).state for u in units})
    values = (uuid, name, context.host, addresses, ",".join(states))
    return dict(zip(COLUMNS, values, strict=True))


class InstanceRelease(Shower):
    """Stop guests; reset, check and free their units.

    A domain that 'instance boot' defined is undefined, unless it was edited
    since; from the definition of any other its functions are removed. The
    answer is the record of one INSTANCE; with several, --gone or --dry-run
    it is a row for each. The exit status is 1 if a unit was quarantined.
    The agent of another host is asked to release an instance there.
    """

    column_names = COLUMNS

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        instance_argument.add_several(parser)
        parser.add_argument(
            "--gone",
            action="store_true",
            help="release every instance of this host whose guest is gone by"
            " libvirt, whose groups nothing uses, and that is not defined to"
            " start with its units again; no guest is stopped",
        )
        task.add_wait(parser)
        add_dry_run(parser, "what would be released, and why others would not")
        return parser

    def columns_of(self, parsed_args: argparse.Namespace) -> tuple[str, ...]:
        if _is_one_release(parsed_args):
            return self.column_names
        return RELEASE_COLUMNS

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        texts = parsed_args.instances
        if bool(texts) is parsed_args.gone:
            raise errors.Invalid(
                "instance release takes INSTANCE or --gone;"
                f" {'both were' if texts else 'neither was'} given"
            )
        # Before anything is read it says where it cannot be done.
        _ = self.context.host_context
        if parsed_args.gone:
            releases = self._gone(is_dry=parsed_args.dry_run)
        else:
            instances = [self._resolved(text) for text in texts]
            act = self._planned if parsed_args.dry_run else self._released
            releases = [act(i, parsed_args) for i in dict.fromkeys(instances)]
        if not parsed_args.dry_run and any(map(_is_dirty, releases)):
            self.status = 1
        own_host = self.context.settings.host
        lines = [_release_row(own_host, each) for each in releases]
        if _is_one_release(parsed_args):
            fields = dict(zip(COLUMNS, lines[0], strict=False))
            return self.fields(fields)
        return RELEASE_COLUMNS, rows(*lines)

    def produce_output(
        self, parsed_args: argparse.Namespace, names: Any, data: Any
    ) -> int:
        if _is_one_release(parsed_args):
            return super().produce_output(parsed_args, names, data)
        if not data:
            say("no instance of this host holds a unit")
        self.emit_rows(parsed_args, names, data)
        return 0

    def _resolved(self, text: str) -> NamedInstance:
        instance = instance_argument.resolve(
            self.context, text, is_destructive=True
        )
        return instance_argument.named(self.context, instance)

    def _gone(self, *, is_dry: bool) -> Sequence[Release]:
        from gpu_passthrough_plugin.flow import release

        context = self.context.host_context
        if is_dry:
            return release.plan_gone(context)
        return release.release_gone(context)

    def _planned(
        self, instance: NamedInstance, _parsed_args: argparse.Namespace
    ) -> Release:
        from gpu_passthrough_plugin.flow import release

        return release.plan(self.context.host_context, instance.uuid)

    def _released(
        self, instance: NamedInstance, parsed_args: argparse.Namespace
    ) -> Release:
        from gpu_passthrough_plugin.flow import release

        uuid, name = instance
        records = self._released_elsewhere(uuid, parsed_args.wait)
        if records is None:
            records = release.release(self.context.host_context, uuid)
        return release.Release(uuid, name, records, "named by the operator")

    def _released_elsewhere(
        self, uuid: str, wait_s: int
    ) -> tuple[UnitRecord, ...] | None:
        """Release what is on another host; return None for what is not."""
        ledger = self.context.ledger
        try:
            allocation = ledger.allocation(uuid)
        except errors.Refused:
            # As where an interrupted release had freed it all.
            return None
        host = allocation.host
        if host == self.context.settings.host:
            return None
        task.ask(self.context, host, TaskKind.RELEASE, uuid, wait_s)
        return tuple(ledger.unit(r.unit.key) for r in allocation.units)


def _is_one_release(parsed_args: argparse.Namespace) -> bool:
    """Return whether the answer is the record of one instance."""
    is_listed = parsed_args.gone or parsed_args.dry_run
    return len(parsed_args.instances) == 1 and not is_listed


def _is_dirty(release: Release) -> bool:
    return any(r.state is State.QUARANTINED for r in release.units)


def _release_row(host: str, release: Release) -> tuple[object, ...]:
    """Return the row of a release, under ``RELEASE_COLUMNS``.

    :param host: of a release without units.
    """
    units = tuple(str(r.unit.key.address) for r in release.units)
    hosts = [r.unit.key.host for r in release.units]
    states = ",".join(sorted({r.state for r in release.units}))
    return (
        release.uuid,
        release.name,
        hosts[0] if hosts else host,
        units,
        states or (_NOT_IN_LEDGER if release.is_kept else str(State.FREE)),
        "keep" if release.is_kept else "release",
        release.reason,
    )
