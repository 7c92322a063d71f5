"""Kernel arguments: on disk, in the boot loader, in the running kernel."""

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


def word_of(words: Sequence[str], wanted: str) -> str:
    """The word that says it, as it stands there."""
    return next(
        (w for w in reversed(words) if kernel_cmdline.contains([w], wanted)),
        wanted,
    )


def is_pending(case: Case) -> bool:
    """Whether ``host enable`` was run in this boot: the next one has it."""
    return is_same_boot(case.evidence) is True


def is_on_its_way(case: Case, word: str) -> bool:
    """Whether a place on disk says it, or it is pending."""
    evidence = case.evidence
    places = (*evidence.configured.values(), *evidence.entries.values())
    return is_pending(case) or any(
        kernel_cmdline.contains(words, word) for words in places
    )


def not_rebooted(case: Case) -> Cause | None:
    """All is on disk, and the kernel still runs as it was started before."""
    evidence = case.evidence
    if is_pending(case):
        return Cause(
            "not-rebooted",
            Confidence.CERTAIN,
            "'host enable' was run in this boot, and counts from the next",
            f"boot id {evidence.boot_id}, then and now",
            "reboot",
        )
    for word in () if is_same_boot(evidence) is False else _missing(case):
        if _with(evidence.entries, word):
            return Cause(
                "not-rebooted",
                Confidence.LIKELY,
                f"the next boot has {word}, and the running kernel does not",
                _shown(evidence.entries, word),
                "reboot, and let the boot loader take that entry",
            )
    return None


def not_regenerated(case: Case) -> Cause | None:
    """The boot loader's source says it, and what it generates does not."""
    evidence = case.evidence
    for word in _missing(case):
        sources = _with(evidence.configured, word)
        if _with(evidence.entries, word) or not evidence.entries:
            continue
        if sources and not _other_menu(case, word):
            return Cause(
                "not-regenerated",
                Confidence.CERTAIN,
                f"{word} is in {sources[0]}, and in nothing that the boot"
                " loader reads: it was not generated anew",
                f"{_shown(evidence.configured, word)}; without it:"
                f" {', '.join(evidence.entries)}",
                f"{_generate(case)}, then reboot",
            )
    return None


def wrong_grub_cfg(case: Case) -> Cause | None:
    """Generated, and into a file that the host does not boot by."""
    evidence = case.evidence
    for word in _missing(case):
        there = _other_menu(case, word)
        lacking = _without(evidence.entries, word)
        if there and lacking and not _with(evidence.entries, word):
            return Cause(
                "wrong-grub-cfg",
                Confidence.LIKELY,
                f"{word} was generated into {there}, and the host boots by"
                f" {_file(lacking[0])}",
                f"{there}: {word}; without it: {lacking[0]}",
                f"{_generate(case)}, then reboot",
            )
    return None


def other_boot_entry(case: Case) -> Cause | None:
    """The boot loader took an entry that does not say it."""
    evidence = case.evidence
    is_rebooted = is_same_boot(evidence) is False
    for word in () if is_pending(case) else _missing(case):
        there = _with(evidence.entries, word)
        others = _without(evidence.entries, word)
        if there and (others or is_rebooted):
            return Cause(
                "other-boot-entry",
                Confidence.LIKELY if is_rebooted else Confidence.POSSIBLE,
                f"another boot entry was taken than one with {word}",
                f"{_shown(evidence.entries, word)}; the running kernel lacks"
                " it",
                "reboot and take that entry, or make it the default:"
                " 'grubby --set-default', 'grub-set-default' or 'bootctl"
                " set-default'",
            )
    return None


def _missing(case: Case) -> Iterator[str]:
    """Words that the running kernel ought to have and does not."""
    evidence = case.evidence
    words = evidence.facts.kernel_arguments
    if isinstance(words, Unknown):
        return
    wanted: tuple[str, ...] = ()
    if evidence.enablement is not None:
        wanted = evidence.enablement.arguments
    elif (
        _made_none(case) and iommu_arguments.parameter(evidence.facts) == INTEL
    ):
        wanted = (INTEL_ON,)
    yield from kernel_cmdline.missing(words, Requirements(wanted))


def _made_none(case: Case) -> bool:
    """Whether the kernel made no groups and runs no IOMMU."""
    evidence = case.evidence
    return not evidence.has_groups and not known(evidence.facts.iommus)


def _with(places: Mapping[str, tuple[str, ...]], word: str) -> list[str]:
    return [
        p
        for p, words in places.items()
        if kernel_cmdline.contains(words, word)
    ]


def _without(places: Mapping[str, tuple[str, ...]], word: str) -> list[str]:
    return [
        p
        for p, words in places.items()
        if not kernel_cmdline.contains(words, word)
    ]


def _shown(places: Mapping[str, tuple[str, ...]], word: str) -> str:
    there = _with(places, word)
    return ", ".join(f"{p}: {word_of(places[p], word)}" for p in there)


def _file(place: str) -> str:
    """The path of a place such as ``/boot/grub/grub.cfg:112``."""
    path, _, number = place.rpartition(":")
    return path if number.isdecimal() else place


def _other_menu(case: Case, word: str) -> str | None:
    """A grub.cfg that says it and that the boot loader does not read."""
    read = {_file(place) for place in case.evidence.entries}
    for path, data in case.evidence.installation.files.items():
        if not path.endswith("/grub.cfg") or path in read:
            continue
        menu = "" if isinstance(data, Unknown) else as_text(data)
        lines = grub_menu.kernel_arguments(path, menu).values()
        if any(kernel_cmdline.contains(words, word) for words in lines):
            return path
    return None


def _generate(case: Case) -> str:
    """The command that generates what the boot loader reads."""
    tools = case.evidence.installation.tools
    paths = map(_file, case.evidence.entries)
    path = next((p for p in paths if p.endswith("/grub.cfg")), "")
    if path and "update-grub" in tools:
        return "run 'update-grub'"
    if path and "grub2-mkconfig" in tools:
        return f"run 'grub2-mkconfig -o {path}'"
    return "run 'gpu-passthrough host enable'"
