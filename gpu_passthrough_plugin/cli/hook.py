"""``hook``: install, remove and complete the libvirt hook."""

from __future__ import annotations

import argparse
import math
import os
import sys
from typing import TYPE_CHECKING, Any

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli import instance_argument, libvirt_hook
from gpu_passthrough_plugin.cli.command import (
    CHANGES,
    Command,
    DryRunCommand,
    diff_lines,
    rows,
)
from gpu_passthrough_plugin.cli.output import say
from gpu_passthrough_plugin.cli.superuser import require_root

if TYPE_CHECKING:
    from gpu_passthrough_plugin.host.files import Files
    from gpu_passthrough_plugin.model.change import Write


class _HookFileCommand(DryRunCommand):
    """A command that changes the hook's file, or prints how it would."""

    def apply(self, files: Files, change: Write, *, is_dry: bool) -> Any:
        from gpu_passthrough_plugin.flow import hook_install

        if is_dry:
            for line in diff_lines((change,)):
                say(line)
        else:
            hook_install.apply(files, change)
        if change.was is change.becomes is None:
            return CHANGES, rows((change.step, change.target, "absent"))
        return self.answer((change,))

    def files(self, *, is_dry: bool) -> Files:
        """Return the files of the host, or of one below another root.

        :raises Invalid: for a recorded host, or when this user cannot change
            the files and that is to be done.
        """
        from gpu_passthrough_plugin.host.files import Files

        options = self.app.options
        if options.sandbox is not None:
            raise errors.Invalid(
                "--sandbox has no libvirt that starts a hook; run this on the"
                " live host without it"
            )
        if options.recording:
            raise errors.Invalid(
                "--recording is read-only; run this on the live host without"
                " it"
            )
        if not is_dry:
            require_root()
        return Files(os.path.realpath(options.root))


class HookInstall(_HookFileCommand):
    """Install the libvirt hook that checks guests with PCI devices.

    The hook refuses the start of a guest with part of a group, or with a unit
    that is not free. It claims the units of every other guest, and releases
    them after the guest has ended.
    """

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        import sysconfig

        from gpu_passthrough_plugin.flow import hook_install
        from gpu_passthrough_plugin.host import hypervisor
        from gpu_passthrough_plugin.model.change import Action

        files = self.files(is_dry=parsed_args.dry_run)
        python = os.path.abspath(sys.executable)
        entry = os.path.abspath(libvirt_hook.__file__)
        hook_install.require_lasting(
            python,
            os.path.dirname(os.path.dirname(entry)),
            [sysconfig.get_path(name) for name in ("stdlib", "purelib")],
            sys.prefix,
        )
        version = hypervisor.version() if files.root == "/" else None
        config_files = self.app.options.config_file or ()
        program = hook_install.program(
            python, entry, list(map(os.path.abspath, config_files)), files.root
        )
        change = hook_install.plan_install(files, program, version)
        answer = self.apply(files, change, is_dry=parsed_args.dry_run)
        if change.action is Action.CREATE and not parsed_args.dry_run:
            say(
                "Restart libvirtd (or virtqemud) to load the hook (not needed"
                " if a hook was already installed). Running guests are not"
                " affected."
            )
        self._warn()
        return answer

    def _warn(self) -> None:
        """Print why guests with PCI devices are refused for now, if so."""
        try:
            version = self.context.ledger.version()
            reason = "" if version else "there is no ledger yet"
        except errors.Error as error:
            reason = str(error)
        if reason:
            say(
                f"warning: {reason}; every guest with a PCI device is refused"
                " until 'gpu-passthrough db sync' and 'gpu-passthrough"
                " inventory sync' were run"
            )


class HookRemove(_HookFileCommand):
    """Remove the libvirt hook; running guests keep their units.

    'instance release' releases what they hold.
    """

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.flow import hook_install

        files = self.files(is_dry=parsed_args.dry_run)
        change = hook_install.plan_removal(files)
        return self.apply(files, change, is_dry=parsed_args.dry_run)


def seconds(text: str) -> float:
    """Return a number of seconds from the command line.

    :raises ArgumentTypeError: when it is not a number, or would never be
        over.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of seconds; expected 0 or more, such"
            " as 600"
        )
    return value


class HookRelease(Command):
    """Release the units of a guest that ended; the hook calls this."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        instance_argument.add(parser)
        parser.add_argument(
            "--patience",
            type=seconds,
            default=0,
            metavar="SECONDS",
            help="keep retrying for SECONDS while the ledger or lock is"
            " unreachable",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.flow import recovery

        context = self.context.host_context
        uuid, _ = instance_argument.resolve(
            self.context, parsed_args.instance, is_destructive=True
        )
        recovery.release_ended(context, uuid, patience_s=parsed_args.patience)
