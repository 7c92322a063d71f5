"""``host``: check, enable, disable, verify, record and report a host."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from gpu_passthrough_plugin.cli import dependencies, findings, output, verified
from gpu_passthrough_plugin.cli.command import (
    Command,
    DryRunCommand,
    diff_lines,
)
from gpu_passthrough_plugin.cli.finding_lister import (
    CheckLister,
    FindingLister,
)
from gpu_passthrough_plugin.cli.output import say
from gpu_passthrough_plugin.cli.superuser import require_root
from gpu_passthrough_plugin.cli.time_limit import time_limit
from gpu_passthrough_plugin.flow import verification
from gpu_passthrough_plugin.flow.verification import Verification
from gpu_passthrough_plugin.model.change import Change
from gpu_passthrough_plugin.model.finding import Status
from gpu_passthrough_plugin.model.redaction import Redaction

CHECKS = ("Check", "Status", "Detail", "Remedy", findings.COLUMN)
# Ends of names that fit what is written.
_REPORTS = (".tar.zst", ".tzst")
_RECORDINGS = (".umockdev", ".txt")


class HostCheck(CheckLister):
    """Check whether this host is ready; the exit status is 1 if not."""

    reads_only = True
    subject = "host"

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        context = self.context
        result = verification.check_host(
            context.tree,
            context.policy,
            dependencies.of_host(context),
            lambda: context.boot_evidence,
        )
        return self.answer(result, CHECKS)


class HostEnable(DryRunCommand):
    """Bind the selected devices to vfio-pci at every boot of this host.

    Changes kernel arguments and initramfs images: they switch the IOMMU on
    and bind every function of the selected groups before any other driver
    does. Prints the changes and keeps the originals. What is selected is
    remembered in /etc/gpu-passthrough/selection.conf. A second run changes
    nothing; 'host disable' reverts everything.
    """

    runs_tools = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--select",
            action="append",
            default=[],
            metavar="SPEC",
            help="add this to the selection of this host, which is remembered:"
            " an address, VENDOR:PRODUCT or class=CLASS; several are separated"
            " by commas, or the option is repeated",
        )
        parser.add_argument(
            "--deselect",
            action="append",
            default=[],
            metavar="SPEC",
            help="remove this from the selection",
        )
        parser.add_argument(
            "--only",
            action="store_true",
            help="select what --select names, and nothing else",
        )
        parser.add_argument(
            "--binding",
            metavar="address|ids",
            help="how functions are bound (default: [enablement] binding)",
        )
        parser.add_argument(
            "--blacklist",
            action="append",
            default=[],
            metavar="DRIVER",
            help="prevent this driver from being loaded automatically, in"
            " addition to [enablement] blacklist; several are separated by"
            " commas, or the option is repeated",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.flow import enablement

        context = self.context
        options = enablement.EnableOptions(
            select=_listed(parsed_args.select),
            binding=parsed_args.binding,
            blacklist=_listed(parsed_args.blacklist),
            deselect=_listed(parsed_args.deselect),
            is_only=parsed_args.only,
        )
        if parsed_args.dry_run:
            if context.is_here:
                # Config spaces and some of the boot's files are root's.
                require_root()
            plan = enablement.plan_enable(context.boot_context, options)
            _tell(plan.notes, plan.changes)
            return self.answer(plan.changes)
        context.require_host()
        return self.answer(
            enablement.enable(context.boot_context, options, _tell)
        )


class HostDisable(DryRunCommand):
    """Revert everything that 'host enable' did, newest first.

    Files get back their content, modes, owners and attributes. In a file
    that was edited since, the edit stays and only the changes of 'host
    enable' are removed.
    """

    runs_tools = True

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.flow import enablement

        context = self.context
        context.require_host(
            "what 'host enable' changed is kept on the host itself"
        )
        if parsed_args.dry_run:
            return self.answer(enablement.plan_disable(context.boot_context))
        return self.answer(enablement.disable(context.boot_context))


def _listed(values: Iterable[str]) -> tuple[str, ...]:
    """Return the values of an option that may have lists, as files have."""
    return tuple(v.strip() for value in values for v in value.split(","))


def _tell(notes: Iterable[str], changes: Iterable[Change]) -> None:
    """Print a plan's notes, and what it does to files as a diff."""
    for note in notes:
        say(note)
    for line in diff_lines(changes):
        say(line)


class HostVerify(FindingLister):
    """Check that each selected function is on vfio-pci; explain if not.

    Causes are listed the most likely first, each with its confidence, its
    evidence and a fix. The exit status is 1 if a function is not on vfio-pci,
    or none can be.
    """

    reads_only = True
    result: Verification

    def text(self, width: int | None) -> Iterable[str]:
        return verified.text(self.result, width)

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--report",
            metavar="FILE",
            help="verify another host by the file that 'host report' wrote"
            " there",
        )
        parser.add_argument(
            "--guest-log",
            metavar="FILE",
            help="explain a log of a guest of this host, too: of its kernel,"
            " of QEMU, or a message of Windows; - for standard input",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.flow import report

        context = self.context
        log = parsed_args.guest_log
        messages = None
        if log is not None:
            with time_limit(log, expected="a guest's log"):
                messages = report.read_guest_log(log)
        if parsed_args.report:
            with time_limit(parsed_args.report):
                tree, evidence, notes = report.read(parsed_args.report)
                result = verification.verify_with_guest(
                    tree, context.policy_of(tree), evidence, messages
                )
            for warning in (*tree.warnings, *notes):
                say(warning)
        else:
            result = verification.verify_with_guest(
                context.tree, context.policy, context.boot_evidence, messages
            )
        if result.refusal:
            say(result.refusal)
            self.status = 1
        if any(row.status is Status.FAIL for row in result.findings):
            self.status = 1
        self.result = result
        guest = [] if result.guest is None else [result.guest]
        return verified.COLUMNS, (
            *map(verified.row, result.findings),
            *map(verified.guest_row, guest),
        )


class HostReport(Command):
    """Write a report of this host, for a diagnosis elsewhere.

    The report has a recording of the host, relevant lines of the kernel log,
    the boot configuration and the changes of 'host enable'. Passwords, keys,
    addresses, serial numbers, host names, comments and foreign scripts are
    hidden; how many of each is printed.
    """

    reads_only = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_output(parser, "FILE.tar.zst")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.flow import report

        path, is_forced = parsed_args.file, parsed_args.force
        output.require_suffix(path, "a zstd-compressed tar archive", _REPORTS)
        output.require_writable(path, is_forced=is_forced)
        context = self.context
        redaction = Redaction()
        content, notes = report.write(
            context.tree, context.boot_evidence, redaction
        )
        for note in notes:
            say(note)
        say(output.save(path, content, redaction, is_forced=is_forced))


class HostRecord(Command):
    """Write a recording of this host, which can be replayed elsewhere.

    The recording has only what this program reads. Passwords, keys, addresses,
    serial numbers, host names, comments and foreign scripts are hidden; how
    many of each is printed.
    """

    reads_only = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_output(parser, "FILE")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.flow import report

        path, is_forced = parsed_args.file, parsed_args.force
        output.require_suffix(path, "text in umockdev's format", _RECORDINGS)
        output.require_writable(path, is_forced=is_forced)
        redaction = Redaction()
        recording = report.recording(self.context.tree, redaction)
        for fault in recording.faults:
            say(f"files of one driver are not recorded: {fault}")
        content = recording.content
        say(output.save(path, content, redaction, is_forced=is_forced))


def _add_output(parser: argparse.ArgumentParser, metavar: str) -> None:
    parser.add_argument(
        "file",
        metavar=metavar,
        help="where to write it; - for standard output",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace FILE if it exists",
    )
