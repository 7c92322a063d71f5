"""Where an argument was lost: disk, boot loader or running kernel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from gpu_passthrough_plugin.diagnosis.evidence import Case, Cause, Confidence
from gpu_passthrough_plugin.diagnosis.reboot import is_same_boot
from gpu_passthrough_plugin.formats import (
    grub_menu,
    iommu_arguments,
    kernel_cmdline,
)
from gpu_passthrough_plugin.formats.iommu_arguments import INTEL, INTEL_ON
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.model.reading import Unknown, as_text, known


def spelling(words: Sequence[str], argument: str) -> str:
    """Return the last word that has ``argument``, as it is written there."""
    return next(
        (w for w in reversed(words) if kernel_cmdline.contains([w], argument)),
        argument,
    )


def is_pending(case: Case) -> bool:
    """Return whether ``host enable`` was run in this boot."""
    return is_same_boot(case.evidence) is True


def is_configured(case: Case, argument: str) -> bool:
    """Return whether a file on disk has ``argument``, or one is pending."""
    evidence = case.evidence
    places = (*evidence.configured.values(), *evidence.entries.values())
    return is_pending(case) or any(
        kernel_cmdline.contains(words, argument) for words in places
    )


def unread_place(case: Case, argument: str) -> str | None:
    """Return where an argument stands that this boot may not have read.

    A file beside another that lacks it, or a line behind the first of one.
    """
    evidence = case.evidence
    if is_pending(case) or _places_with(evidence.entries, argument):
        return None
    present = _places_with(evidence.configured, argument)
    # ``/etc/default/grub GRUB_CMDLINE_LINUX``: settings of one file add up.
    files = {place.partition(" ")[0] for place in present}
    for place in _places_without(evidence.configured, argument):
        if place.partition(" ")[0] in files:
            continue
        line = _later_line(evidence.installation.files.get(place), argument)
        if line:
            return f"{place}:{line} has {argument}, and only line 1 is read"
        if present:
            return (
                f"{present[0]} has {argument}, and the boot loader may read"
                f" {place} instead, which lacks it"
            )
    return None


def _later_line(data: bytes | Unknown | None, argument: str) -> int | None:
    """Return the number of the line behind the first that has it, or None."""
    if data is None or isinstance(data, Unknown):
        return None
    for number, line in enumerate(as_text(data).splitlines(), 1):
        words = kernel_cmdline.split(line)
        if number > 1 and kernel_cmdline.contains(words, argument):
            return number
    return None


def not_rebooted(case: Case) -> Cause | None:
    """Find that the argument is on disk, and the host was not rebooted."""
    evidence = case.evidence
    if is_pending(case):
        return Cause(
            "not-rebooted",
            Confidence.CERTAIN,
            "'host enable' was run, and the host was not rebooted since",
            f"the boot id is still {evidence.boot_id}",
            "reboot",
        )
    for word in (
        () if is_same_boot(evidence) is False else _missing_arguments(case)
    ):
        if _places_with(evidence.entries, word):
            return Cause(
                "not-rebooted",
                Confidence.LIKELY,
                f"{word} is set for the next boot, but the running kernel"
                " lacks it",
                _as_evidence(evidence.entries, word),
                "reboot with that boot entry",
            )
    return None


def not_regenerated(case: Case) -> Cause | None:
    """Find an argument in the boot loader's source and in no boot entry."""
    evidence = case.evidence
    for word in _missing_arguments(case):
        sources = _places_with(evidence.configured, word)
        if _places_with(evidence.entries, word) or not evidence.entries:
            continue
        if sources and not _unread_menu(case, word):
            return Cause(
                "not-regenerated",
                Confidence.CERTAIN,
                f"{word} is in {sources[0]}, but in no boot entry: the boot"
                " loader's configuration was not regenerated",
                f"{_as_evidence(evidence.configured, word)}; without it:"
                f" {', '.join(evidence.entries)}",
                f"{_regenerate_command(case)}, then reboot",
            )
    return None


def wrong_grub_cfg(case: Case) -> Cause | None:
    """Find an argument in a grub.cfg that the host does not boot from."""
    evidence = case.evidence
    for word in _missing_arguments(case):
        menu = _unread_menu(case, word)
        lacking = _places_without(evidence.entries, word)
        if menu and lacking and not _places_with(evidence.entries, word):
            return Cause(
                "wrong-grub-cfg",
                Confidence.LIKELY,
                f"{word} is in {menu}, but the host boots from"
                f" {_path(lacking[0])}",
                f"{menu}: {word}; without it: {lacking[0]}",
                f"{_regenerate_command(case)}, then reboot",
            )
    return None


def other_boot_entry(case: Case) -> Cause | None:
    """Find that the host booted an entry without the argument."""
    evidence = case.evidence
    is_rebooted = is_same_boot(evidence) is False
    for word in () if is_pending(case) else _missing_arguments(case):
        entries = _places_with(evidence.entries, word)
        others = _places_without(evidence.entries, word)
        if entries and (others or is_rebooted):
            return Cause(
                "other-boot-entry",
                Confidence.LIKELY if is_rebooted else Confidence.POSSIBLE,
                f"the host booted an entry without {word}",
                f"{_as_evidence(evidence.entries, word)}; the running kernel"
                " lacks it",
                "reboot with that entry, or make it the default with 'grubby"
                " --set-default', 'grub-set-default' or 'bootctl"
                " set-default'",
            )
    return None


def argument_removed(case: Case) -> Cause | None:
    """Find that an argument of ``host enable``'s is nowhere, after a reboot.

    Something else writes this host's arguments, and would again.
    """
    evidence = case.evidence
    places = (*evidence.entries, *evidence.configured)
    if is_same_boot(evidence) is not False or not places:
        return None
    for word in _missing_arguments(case):
        if is_configured(case, word) or _unread_menu(case, word):
            continue
        if unread_place(case, word) is None:
            return Cause(
                "argument-removed",
                Confidence.LIKELY,
                f"{word}, which 'host enable' wrote, is no longer among the"
                " kernel arguments of the boot loader: something removed it",
                f"without it: {', '.join(places)}",
                "find what else writes kernel arguments here, such as"
                " configuration management, an updater, or a service of the"
                f" image that runs rpm-ostree kargs, and have it keep {word};"
                " only then run 'gpu-passthrough host enable' and reboot",
            )
    return None


def _missing_arguments(case: Case) -> Iterator[str]:
    """Yield the arguments that the running kernel should have and lacks."""
    evidence = case.evidence
    words = evidence.facts.kernel_arguments
    if isinstance(words, Unknown):
        return
    required: tuple[str, ...] = ()
    if evidence.enablement is not None:
        required = evidence.enablement.arguments
    elif (
        _has_no_iommu(case)
        and iommu_arguments.parameter(evidence.facts) == INTEL
    ):
        required = (INTEL_ON,)
    yield from kernel_cmdline.missing(words, Requirements(required))


def _has_no_iommu(case: Case) -> bool:
    """Return whether the kernel made no groups and runs no IOMMU."""
    evidence = case.evidence
    return not evidence.has_groups and not known(evidence.facts.iommus)


def _places_with(
    places: Mapping[str, tuple[str, ...]], word: str
) -> list[str]:
    return [
        p
        for p, words in places.items()
        if kernel_cmdline.contains(words, word)
    ]


def _places_without(
    places: Mapping[str, tuple[str, ...]], word: str
) -> list[str]:
    return [
        p
        for p, words in places.items()
        if not kernel_cmdline.contains(words, word)
    ]


def _as_evidence(places: Mapping[str, tuple[str, ...]], word: str) -> str:
    matches = _places_with(places, word)
    return ", ".join(f"{p}: {spelling(places[p], word)}" for p in matches)


def _path(place: str) -> str:
    """Return the path of a place such as ``/boot/grub/grub.cfg:112``."""
    path, _, number = place.rpartition(":")
    return path if number.isdecimal() else place


def _unread_menu(case: Case, word: str) -> str | None:
    """Return a grub.cfg that has it and that the boot loader does not read."""
    read = {_path(place) for place in case.evidence.entries}
    for path, data in case.evidence.installation.files.items():
        if not path.endswith("/grub.cfg") or path in read:
            continue
        menu = "" if isinstance(data, Unknown) else as_text(data)
        lines = grub_menu.kernel_arguments(path, menu).values()
        if any(kernel_cmdline.contains(words, word) for words in lines):
            return path
    return None


def _regenerate_command(case: Case) -> str:
    """Return the command that generates what the boot loader reads."""
    tools = case.evidence.installation.tools
    paths = map(_path, case.evidence.entries)
    path = next((p for p in paths if p.endswith("/grub.cfg")), "")
    if path and "update-grub" in tools:
        return "run 'update-grub'"
    if path and "grub2-mkconfig" in tools:
        return f"run 'grub2-mkconfig -o {path}'"
    return "run 'gpu-passthrough host enable'"
