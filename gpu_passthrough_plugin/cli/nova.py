"""``nova``: configuration for OpenStack Nova, written and checked."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli.command import Lister, rows
from gpu_passthrough_plugin.cli.context import Context, say
from gpu_passthrough_plugin.model.finding import Status

if TYPE_CHECKING:
    from gpu_passthrough_plugin.cli.wishes import Wishes
    from gpu_passthrough_plugin.flow.config_files import Part
    from gpu_passthrough_plugin.nova.lint.configuration import Options
    from gpu_passthrough_plugin.nova.options import Host

SHOWN = ("File", "Goes To", "Contents")
WRITTEN = ("File", "Action", "Goes To")
FINDINGS = ("Check", "Status", "Where", "Detail", "Remedy")


class NovaConfig(Lister):
    """Write what Nova, Placement and the flavors need for whole groups.

    Prints every part below a line that says who reads it; with -o each
    becomes a file. Nothing of Nova's own is touched. Ends with 1 when no
    group can be handed out.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        from gpu_passthrough_plugin.cli import wishes

        parser = super().get_parser(prog_name)
        wishes.add_to(parser)
        parser.add_argument(
            "-o",
            dest="folder",
            metavar="DIR",
            help="write files there instead; one that somebody edited is not"
            " replaced",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.cli import wishes
        from gpu_passthrough_plugin.flow import nova

        wished = wishes.read(parsed_args)
        hosts = self._hosts(wished)
        parts = nova.parts(
            hosts, wished.asked, wished.filters, by_name=wished.is_of_ledger
        )
        if parsed_args.folder is None:
            return SHOWN, rows(*((p.name, p.goes_to, p.text) for p in parts))
        return WRITTEN, _written(parsed_args.folder, parts)

    def _hosts(self, wished: Wishes) -> tuple[Host, ...]:
        from gpu_passthrough_plugin.flow import nova

        context = self.context
        if wished.is_of_ledger:
            return nova.published(context.ledger.records(), say)
        name = wished.host or self._name(context)
        return (nova.here(context.tree, context.policy, name),)

    def _name(self, context: Context) -> str:
        """The host's; one to look at has that of what is looked at."""
        if context.is_here:
            return context.settings.host
        options = self.app.options
        path = os.path.abspath(options.recording or options.root)
        return str(os.path.basename(path))

    def produce_output(
        self, parsed_args: argparse.Namespace, names: Any, data: Any
    ) -> int:
        """The files as they are, unless it is the list that is wanted."""
        is_list = parsed_args.folder is not None or parsed_args.columns
        if is_list or parsed_args.formatter != "table":
            return super().produce_output(parsed_args, names, data)
        texts = (
            f"# ==== {name.human_readable()}: goes to"
            f" {goes_to.human_readable()}\n"
            f"{contents.human_readable()}"
            for name, goes_to, contents in data
        )
        self.app.stdout.write("\n".join(texts))
        return 0


def _written(folder: str, parts: tuple[Part, ...]) -> Any:
    """A row for each file, when all of them are there.

    :raises Invalid: when the folder is something else.
    """
    from gpu_passthrough_plugin.flow import config_files
    from gpu_passthrough_plugin.host.files import Files

    path, files = os.path.abspath(folder), Files()
    absent = files.missing(os.path.join(path, "x"))
    if not folder or (absent and os.path.lexists(absent[0])):
        what = repr(absent[0] if absent else folder)
        raise errors.Invalid(
            f"-o: {what} is no folder; wanted one to put files in, there or"
            " not"
        )
    writes = config_files.planned(files, path, parts)
    config_files.put(files, writes)
    return rows(*((w.path, str(w.action), w.step) for w in writes))


class NovaCheck(Lister):
    """Check Nova's configuration against this host; ends with 1 on a fail.

    Says which [pci] device_spec and alias entries do something else than
    somebody meant: match nothing, half a group, two cards, or what the host
    needs. Several files are read as Nova reads them, the last one strongest.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        from gpu_passthrough_plugin.cli import wishes

        parser = super().get_parser(prog_name)
        wishes.add_release(parser)
        parser.add_argument(
            "files",
            nargs="+",
            metavar="FILE",
            help="such as /etc/nova/nova.conf; all that nova-compute reads, in"
            " its order",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.cli import wishes
        from gpu_passthrough_plugin.flow import nova

        faults: list[str] = []
        release = wishes.read_release(parsed_args, faults)
        options = _read(parsed_args.files, faults)
        if faults:
            raise errors.Faults(tuple(faults))
        context = self.context
        found = nova.checked(context.tree, context.policy, options, release)
        if any(f.status is Status.FAIL for f in found):
            self.status = 1
        return FINDINGS, rows(
            *(
                (f.check, str(f.status), f.where, f.detail, f.remedy)
                for f in found
            )
        )


def _read(paths: Sequence[str], faults: list[str]) -> Options:
    """What the files say, as far as they can be read; a fault for the rest."""
    from gpu_passthrough_plugin.formats import oslo_config_file
    from gpu_passthrough_plugin.nova.lint import configuration

    files = []
    for path in paths:
        try:
            with open(path, "rb") as file:
                files.append(
                    (path, file.read(oslo_config_file.MOST_BYTES + 1))
                )
        except IsADirectoryError:
            faults.append(
                f"{path}: is a folder; wanted the files in it, such as"
                f" {os.path.join(path, '*.conf')}"
            )
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            faults.append(
                f"{path}: {why}; wanted a configuration file of Nova's that"
                " can be read"
            )
    try:
        return configuration.read(files)
    except errors.Faults as error:
        faults.extend(error.faults)
        return configuration.Options()
