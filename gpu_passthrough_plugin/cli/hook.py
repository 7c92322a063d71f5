"""``hook``: libvirt asks before a guest starts, and tells when it ended."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from gpu_passthrough_plugin import defaults, errors
from gpu_passthrough_plugin.cli.allocation import parse_uuid
from gpu_passthrough_plugin.cli.command import Command
from gpu_passthrough_plugin.cli.context import Context, say
from gpu_passthrough_plugin.cli.plan import Planner

if TYPE_CHECKING:
    from gpu_passthrough_plugin.compute.hook.script import Terms
    from gpu_passthrough_plugin.host.files import Files
    from gpu_passthrough_plugin.model.change import Write


class _Changes(Planner):
    """A command that changes the hook's file, or shows how it would."""

    def carried_out(self, files: Files, change: Write, *, is_dry: bool) -> Any:
        from gpu_passthrough_plugin.cli.diff import lines
        from gpu_passthrough_plugin.flow import hook

        if is_dry:
            for line in lines((change,)):
                say(line)
        else:
            hook.carry_out(files, change)
        return self.answer((change,))

    def files(self) -> Files:
        """The host's, or those of one below another root."""
        from gpu_passthrough_plugin.host.files import Files

        options = self.app.options
        if options.recording is not None:
            raise errors.Invalid(
                "--recording is a host to look at, and this command changes"
                " one; run it without that"
            )
        return Files(os.path.realpath(options.root))


class HookInstall(_Changes):
    """Have libvirt ask before it starts a guest with PCI functions.

    Its hook refuses a guest that takes half of a group, or what is not
    free, claims what it takes, and gives that back when it has ended.
    Run it again when the configuration changed.
    """

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.flow import hook
        from gpu_passthrough_plugin.host import hypervisor
        from gpu_passthrough_plugin.model.change import Action

        files = self.files()
        version = hypervisor.version() if files.root == "/" else None
        change = hook.planned(files, self._terms(files.root), version)
        answer = self.carried_out(files, change, is_dry=parsed_args.dry_run)
        if change.action is Action.CREATE and not parsed_args.dry_run:
            say(
                "libvirt looks for hooks when it starts: restart libvirtd (or"
                " virtqemud) once, unless it had one before; guests go on"
            )
        return answer

    def _terms(self, root: str) -> Terms:
        from gpu_passthrough_plugin.compute.hook.script import Terms

        options = self.app.options
        files = [os.path.abspath(path) for path in options.config_file or ()]
        words = [word for path in files for word in ("--config-file", path)]
        if root != "/":
            words += ["--root", root]
        package = os.path.dirname(os.path.dirname(__file__))
        return Terms(
            python=os.path.abspath(sys.executable),
            packages=os.path.dirname(os.path.abspath(package)),
            options=tuple(words),
            known=_known(self.context, root, files),
        )


class HookRemove(_Changes):
    """Take libvirt's hook away; guests that run go on, and keep units.

    'instance release' gives back what they hold.
    """

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.flow import hook

        files = self.files()
        change = hook.removal(files)
        return self.carried_out(files, change, is_dry=parsed_args.dry_run)


class HookRelease(Command):
    """Give back what a guest had; the hook calls this when one ended."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("instance", metavar="UUID")
        parser.add_argument(
            "--patience",
            type=float,
            default=0,
            metavar="SECONDS",
            help="try anew for so long where something does not answer",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.flow import hook

        uuid = parse_uuid(parsed_args.instance)
        hook.release(self.context.site, uuid, patience_s=parsed_args.patience)


def _known(context: Context, root: str, files: list[str]) -> dict[str, object]:
    """What the hook's program knows without reading the configuration."""
    from gpu_passthrough_plugin.flow import books, guard
    from gpu_passthrough_plugin.host.hook import state

    found = context.settings
    watched = files or [defaults.CONFIG_FILE]
    return {
        "format": guard.FORMAT,
        "root": root,
        "host": found.host,
        "node": state.node(),
        "state_path": found.state_path,
        "log": os.path.join(found.state_path, "hook.log"),
        "ledger": _ledger_file(context),
        "mode": found.hook.mode,
        "wait_s": found.hook.wait_s,
        "select": books.patterns(found.discovery.select),
        "exclude": books.patterns(found.discovery.exclude),
        "files": tuple((path, state.stamp(path)) for path in watched),
    }


def _ledger_file(context: Context) -> str:
    """The ledger's file; empty where it is none."""
    from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger

    ledger = context.ledger
    if isinstance(ledger, SqlLedger) and ledger.database.file is not None:
        return str(ledger.database.file)
    return ""
