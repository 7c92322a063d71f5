"""``instance``: boot and release guests that hold whole groups."""

from __future__ import annotations

import argparse
from typing import Any

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli import allocation
from gpu_passthrough_plugin.cli.command import Shower
from gpu_passthrough_plugin.model.instance import parse_uuid
from gpu_passthrough_plugin.model.unit import State

COLUMNS = ("Instance", "Host", "Units", "State")

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
        values = (booted.consumer, booted.host, units, ",".join(booted.states))
        return self.fields(dict(zip(COLUMNS, values, strict=True)))


class InstanceRelease(Shower):
    """Stop a guest; reset, check and free its units.

    The exit status is 1 if a unit was quarantined.
    """

    column_names = COLUMNS

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("instance", metavar="UUID")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.flow import release

        uuid = parse_uuid(parsed_args.instance)
        context = self.context.host_context
        records = release.release(context, uuid)
        if any(r.state is State.QUARANTINED for r in records):
            self.status = 1
        units = tuple(str(r.unit.key.address) for r in records)
        states = ",".join(sorted({r.state for r in records})) or State.FREE
        values = (uuid, context.host, units, str(states))
        return self.fields(dict(zip(COLUMNS, values, strict=True)))
