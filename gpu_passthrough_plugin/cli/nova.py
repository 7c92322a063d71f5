"""``nova``: configuration for OpenStack Nova, written and checked."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli import findings, output
from gpu_passthrough_plugin.cli.command import Lister, rows
from gpu_passthrough_plugin.cli.context import Context
from gpu_passthrough_plugin.cli.finding_lister import CheckLister
from gpu_passthrough_plugin.cli.output import say
from gpu_passthrough_plugin.formats.nova_release import NEWEST, Release, parse
from gpu_passthrough_plugin.model import trait
from gpu_passthrough_plugin.model.request import NumaPolicy
from gpu_passthrough_plugin.nova.options import Mode, NovaOptions

if TYPE_CHECKING:
    from gpu_passthrough_plugin.nova.compute import ComputeHost
    from gpu_passthrough_plugin.nova.lint.configuration import NovaConf

SHOWN = ("File", "Goes To", "Contents")
WRITTEN = ("File", "Action", "Goes To")
FINDINGS = ("Check", "Status", "Where", "Detail", "Remedy", findings.COLUMN)

_LEDGER = "inventory"
_YES_NO = {"yes": True, "no": False}
# The same rule as for [DEFAULT] host.
_HOST = re.compile(r"[^\s/\0]{1,255}")
_FILTER = re.compile(r"[A-Za-z_]\w*", re.ASCII)


class ConfigArguments(NamedTuple):
    """What the options of ``nova config`` ask for.

    :param filters: the scheduler's filters; None for Nova's default.
    :param is_from_ledger: whether to write for every host of the ledger.
    :param host: Nova's name of the host that is read; empty if not given.
    """

    options: NovaOptions
    filters: tuple[str, ...] | None
    is_from_ledger: bool
    host: str


class _Option(NamedTuple):
    """One option.

    :param values: what each accepted text stands for; None where the text
        is free, and ``metavar`` names it then.
    """

    name: str
    help: str
    values: Mapping[str, Any] | None = None
    metavar: str = ""

    @property
    def dest(self) -> str:
        return self.name.removeprefix("--").replace("-", "_")


_OPTIONS = (
    _Option(
        "--mode",
        "primary: list one function of each IOMMU group in Nova, and keep the"
        " others on the host for it; full: list every function, which needs"
        " this package's IommuGroupFilter in the scheduler (default:"
        " primary)",
        {mode.value: mode for mode in Mode},
    ),
    _Option(
        "--from",
        "write for every host of the inventory instead of this one",
        {_LEDGER: True},
    ),
    _Option(
        "--host",
        "Nova's name of the host that is read (default: [DEFAULT] host)",
        metavar="NAME",
    ),
    _Option(
        "--managed",
        "whether libvirt binds the functions to vfio-pci and back"
        " (default: Nova's default, yes)",
        _YES_NO,
    ),
    _Option(
        "--live-migratable",
        "whether instances may be live-migrated with their functions",
        _YES_NO,
    ),
    _Option(
        "--one-time-use",
        "keep the card reserved after its instance is deleted until an"
        " operator releases it",
        _YES_NO,
    ),
    _Option(
        "--numa-policy",
        "how close to an instance's NUMA nodes its cards have to be"
        " (default: Nova's default, legacy)",
        {policy.value: policy for policy in NumaPolicy},
    ),
    _Option(
        "--host-trait",
        "add this trait to the hosts' resource providers, and require it in"
        " flavors, such as CUSTOM_GPU_HOST (default: none)",
        metavar="TRAIT",
    ),
    _Option(
        "--enabled-filters",
        "the scheduler's enabled_filters as they are, separated by commas"
        " (default: Nova's default)",
        metavar="LIST",
    ),
)


class NovaConfig(Lister):
    """Write the configuration of Nova and Placement, and a flavor script.

    Prints each file below a line that says which service reads it; -o
    writes them to a directory. Nova's own files are not touched. The exit
    status is 1 when no group can be listed.
    """

    reads_only = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        add_options(parser)
        parser.add_argument(
            "-o",
            dest="folder",
            metavar="DIR",
            help="write the files to this directory instead; a file that was"
            " edited is not replaced",
        )
        return parser

    def columns_of(self, parsed_args: argparse.Namespace) -> tuple[str, ...]:
        return SHOWN if parsed_args.folder is None else WRITTEN

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.flow import nova

        arguments = read_options(
            parsed_args, lambda: _assumed_release(self.context)
        )
        for note in nova.notes(arguments.options, arguments.filters):
            say(note)
        files = nova.generate(
            self._hosts(arguments),
            arguments.options,
            arguments.filters,
            by_name=arguments.is_from_ledger,
        )
        if parsed_args.folder is None:
            return SHOWN, rows(*((f.name, f.goes_to, f.text) for f in files))
        writes = output.write_folder(parsed_args.folder, files)
        cells = ((w.path, str(w.action), w.step) for w in writes)
        return WRITTEN, rows(*cells)

    def _hosts(self, arguments: ConfigArguments) -> tuple[ComputeHost, ...]:
        from gpu_passthrough_plugin.flow import nova

        context = self.context
        if arguments.is_from_ledger:
            listing = context.ledger.listing()
            for unit in listing.malformed:
                say(f"skipped {unit}")
            return nova.ledger_hosts(listing.records, say)
        name = arguments.host or self._name(context)
        return (nova.this_host(context.tree, context.policy, name),)

    def _name(self, context: Context) -> str:
        """Return this host's name; of a recording or root that of its path."""
        if context.can_act:
            return context.settings.host
        path = os.path.abspath(context.place)
        return str(os.path.basename(path))

    def produce_output(
        self, parsed_args: argparse.Namespace, names: Any, data: Any
    ) -> int:
        """Print the files' text, or the list where a list is asked for."""
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


class NovaCheck(CheckLister):
    """Check Nova's configuration against this host.

    Reports [pci] device_spec and alias entries that match no device, only
    part of an IOMMU group, several cards, or a device that the host needs.
    Several files are read in order, as Nova reads them: device_spec and
    alias entries add up; of any other option the last one counts, or Nova's
    default. Without the scheduler's files (nothing in [filter_scheduler])
    what only they decide is a warning. The exit status is 1 if any check
    fails.
    """

    reads_only = True
    subject = "Nova's files"

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_release(parser)
        parser.add_argument(
            "files",
            nargs="+",
            metavar="FILE",
            help="such as /etc/nova/nova.conf; all files that nova-compute"
            " reads, in its order, then those of nova-api and nova-scheduler",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.flow import nova

        faults: list[str] = []
        named = _read_release(parsed_args, faults)
        conf = _read(parsed_args.files, faults)
        if faults:
            raise errors.Faults(tuple(faults))
        context = self.context
        release = named or _assumed_release(context)
        tree, policy = context.tree, context.policy
        result = nova.check_files(tree, policy, conf, release)
        return self.answer(result, FINDINGS)


def _read(paths: Iterable[str], faults: list[str]) -> NovaConf:
    """Return the options in the files; add a fault for each unreadable one."""
    from gpu_passthrough_plugin.formats import oslo_config_file
    from gpu_passthrough_plugin.nova.lint import configuration

    files = []
    for path in paths:
        try:
            with open(path, "rb") as file:
                files.append((path, file.read(oslo_config_file.MAX_BYTES + 1)))
        except IsADirectoryError:
            faults.append(
                f"{path}: is a directory; give the files in it: {path}/*.conf"
            )
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            faults.append(f"{path}: {why}; give files that can be read")
    try:
        return configuration.read(files)
    except errors.Faults as error:
        faults.extend(error.faults)
        return configuration.NovaConf()


def _add_release(parser: argparse.ArgumentParser) -> None:
    """Add the option that names a release of Nova."""
    parser.add_argument(
        "--release",
        metavar="RELEASE",
        help="Nova's release, such as 31, 31.2.0, 2025.1 or epoxy (default:"
        " that of the Nova that is installed here; if there is none, the"
        f" newest known, {NEWEST.number})",
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add all options that ``read_options`` reads."""
    _add_release(parser)
    for option in _OPTIONS:
        parser.add_argument(
            option.name,
            dest=option.dest,
            metavar=option.metavar or "|".join(option.values or ()),
            help=option.help,
        )


def read_options(
    arguments: argparse.Namespace, assumed: Callable[[], Release]
) -> ConfigArguments:
    """Return what the options ask for.

    :param assumed: called for the release if none is named.
    :raises Faults: with each value that is not valid.
    :raises Refused: for what the release cannot do.
    """
    faults: list[str] = []
    release = _read_release(arguments, faults)
    given = vars(arguments)
    values = {o.dest: _value(o, given[o.dest], faults) for o in _OPTIONS}
    is_from_ledger = values.pop("from") or False
    host_trait = _trait(values.pop("host_trait"), faults)
    filters = _filters(values.pop("enabled_filters"), faults)
    host = _host(values.pop("host"), is_from_ledger, faults)
    mode = values.pop("mode") or Mode.PRIMARY
    if faults:
        raise errors.Faults(tuple(faults))
    options = NovaOptions(
        release or assumed(), mode, host_trait=host_trait, **values
    )
    return ConfigArguments(options, filters, is_from_ledger, host)


def _read_release(
    arguments: argparse.Namespace, faults: list[str]
) -> Release | None:
    """Return the release that is named, None if none is; add any fault."""
    try:
        text: str | None = arguments.release
        return None if text is None else parse(text)
    except errors.Invalid as error:
        faults.append(f"--release {error}")
        return None


def _assumed_release(context: Context) -> Release:
    """Return the release of the installed Nova, or the newest; say which."""
    from gpu_passthrough_plugin.flow.nova import assumed_release

    # This package may be in Nova's own environment.
    own = sys.path if context.is_here else []
    return assumed_release(context.tree, say, own)


def _value(option: _Option, text: str | None, faults: list[str]) -> Any:
    """Return what the text stands for; None if not given or not valid."""
    if text is None or option.values is None:
        return text
    if text not in option.values:
        expected = " or ".join(option.values)
        faults.append(
            f"{option.name} {text!r} is not valid; expected {expected}"
        )
    return option.values.get(text)


def _trait(text: str | None, faults: list[str]) -> str | None:
    """Return the trait; Nova accepts only custom ones for a host."""
    if text is not None and not (
        text.startswith("CUSTOM_") and trait.is_trait(text)
    ):
        faults.append(
            f"--host-trait {text!r} is not valid; expected CUSTOM_ with"
            " capitals, digits and _, of at most 255 characters"
        )
    return text


def _filters(text: str | None, faults: list[str]) -> tuple[str, ...] | None:
    if text is None:
        return None
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if not _FILTER.fullmatch(name):
            faults.append(
                f"--enabled-filters: {name!r} is not valid; expected names of"
                " filters such as ComputeFilter, separated by commas"
            )
    return names


def _host(text: str | None, is_from_ledger: bool, faults: list[str]) -> str:
    if text is None:
        return ""
    if is_from_ledger:
        faults.append(
            "--host names the host that is read; with --from inventory each"
            " host has the name under which it was published"
        )
    elif not _HOST.fullmatch(text):
        faults.append(
            f"--host {text!r} is not valid; expected a name of 1 to 255"
            " characters without blanks and slashes"
        )
    return text
