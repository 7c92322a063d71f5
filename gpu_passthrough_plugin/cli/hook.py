"""``hook``: libvirt asks before a guest starts, and tells when it ended."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from gpu_passthrough_plugin import defaults, errors
from gpu_passthrough_plugin.cli.allocation import parse_uuid
from gpu_passthrough_plugin.cli.command import Command, Lister, rows
from gpu_passthrough_plugin.cli.context import Context, say

if TYPE_CHECKING:
    from gpu_passthrough_plugin.compute.hook.script import Terms
    from gpu_passthrough_plugin.host.files import Files
    from gpu_passthrough_plugin.model.change import Write

COLUMNS = ("Step", "Target", "Action")


class _Changes(Lister):
    """A command that changes the hook's file, or shows how it would."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="show what would be done, and do nothing",
        )
        return parser

    def carried_out(self, files: Files, change: Write, *, is_dry: bool) -> Any:
        from gpu_passthrough_plugin.cli.diff import lines
        from gpu_passthrough_plugin.flow import hook

        if is_dry:
            for line in lines((change,)):
                say(line)
        else:
            hook.carry_out(files, change)
        row = (change.step, change.target, str(change.action))
        return COLUMNS, rows(row)

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
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.flow import hook

        hook.release(self.context.site, parse_uuid(parsed_args.instance))


def answer(
    options: Iterable[str],
    name: str,
    operation: str,
    text: bytes,
    hand_over: Callable[[str], None],
) -> int:
    """The hook's exit status, with all of the product.

    :param options: of the command, as the hook's program has them.
    """
    from gpu_passthrough_plugin.compute.hook import decision
    from gpu_passthrough_plugin.flow import guard, hook
    from gpu_passthrough_plugin.host.hook import state

    words = list(options)
    pairs = list(zip(words[::2], words[1::2], strict=True))
    roots = [value for option, value in pairs if option == "--root"]
    files = [value for option, value in pairs if option == "--config-file"]
    root = roots[0] if roots else "/"
    context = Context(root, None, files)
    try:
        found = context.settings
        post = guard.Post(
            hook.DriverBooks(context.ledger, found.host),
            decision.Rules(
                found.hook.mode,
                decision.Patterns(hook.patterns(found.discovery.select)).match,
                decision.Patterns(
                    hook.patterns(found.discovery.exclude)
                ).match,
            ),
            hand_over,
            root=root,
            state_path=found.state_path,
            wait_s=found.hook.wait_s,
        )
    except errors.Error as error:
        is_start = operation == guard.PREPARE
        said = (f"domain {name}: {error}",)
        state.complain(said, is_final=is_start)
        return int(is_start)
    return guard.act(post, name, operation, text)


def _known(context: Context, root: str, files: list[str]) -> dict[str, object]:
    """What the hook's program knows without reading the configuration."""
    from gpu_passthrough_plugin.flow import guard, hook
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
        "select": hook.patterns(found.discovery.select),
        "exclude": hook.patterns(found.discovery.exclude),
        "files": tuple((path, state.stamp(path)) for path in watched),
    }


def _ledger_file(context: Context) -> str:
    """The ledger's file; empty where it is none."""
    from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger

    ledger = context.ledger
    if isinstance(ledger, SqlLedger) and ledger.database.file is not None:
        return str(ledger.database.file)
    return ""
