"""Make a kernel command line say what is required, and keep the rest.

An argument is edited as a whole word where it stands; every other byte of
the line stays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.formats.kernel_cmdline import (
    Argument,
    Requirements,
    Word,
    forbidden,
    includes,
    includes_list,
    insertion_index,
    intended_name,
    is_forbidden,
    missing,
    parse,
    words_in,
)

# What becomes of each word; None: it is removed.
Fates = tuple[str | None, ...]


class EditedWords(NamedTuple):
    """The words of a command line after an edit.

    :param notes: what an operator should know of the edit, a line each.
    """

    words: tuple[str, ...]
    notes: tuple[str, ...] = ()


class EditedText(NamedTuple):
    """The text of a command line after an edit, and notes as above."""

    text: str
    notes: tuple[str, ...] = ()


class _Corrected(NamedTuple):
    fates: Fates
    notes: tuple[str, ...]


def edit_words(
    words: Sequence[str], requirements: Requirements
) -> EditedWords:
    """Return the words corrected, followed by those that were missing.

    Nothing is added behind ``--``, and what init reads is not touched.
    """
    end = insertion_index(words)
    corrected = _correct(words[:end], requirements)
    ours = tuple(word for word in corrected.fates if word is not None)
    added = missing(ours, requirements)
    return EditedWords((*ours, *added, *words[end:]), corrected.notes)


def edit_text(text: str, requirements: Requirements) -> EditedText:
    """Return the line corrected and completed as ``edit_words`` does."""
    return _edit_text(text, requirements, is_completed=True)


def correct_text(text: str, requirements: Requirements) -> EditedText:
    """Return the line without what is wrong in it; add nothing."""
    return _edit_text(text, requirements, is_completed=False)


def _edit_text(
    text: str, requirements: Requirements, *, is_completed: bool
) -> EditedText:
    places = words_in(text)
    words = [word.text for word in places]
    end = insertion_index(words)
    corrected = _correct(words[:end], requirements)
    added: tuple[str, ...] = ()
    if is_completed:
        ours = [word for word in corrected.fates if word is not None]
        added = missing(ours, requirements)
    fates = (*corrected.fates, *added, *words[end:])
    gaps = _gaps(text, places)
    gaps[end:end] = [" "] * len(added)
    kept = [(g, w) for g, w in zip(gaps, fates, strict=True) if w is not None]
    rest = "".join((gap or " ") + word for gap, word in kept[1:])
    body = kept[0][1] + rest if kept else ""
    head = text[: places[0].start] if places else ""
    tail = text[places[-1].end :] if places else text
    return EditedText(f"{head}{body}{tail}", corrected.notes)


def _gaps(text: str, places: Sequence[Word]) -> list[str]:
    """Return what stands before each word."""
    ends = (0, *(word.end for word in places))
    return [
        text[end : word.start] for end, word in zip(ends, places, strict=False)
    ]


def _correct(words: Sequence[str], requirements: Requirements) -> _Corrected:
    spelled, notes = _correct_spelling(tuple(words), requirements)
    merged, more = _merge_lists(
        _replace_forbidden(spelled, requirements), requirements
    )
    return _Corrected(merged, tuple(dict.fromkeys((*notes, *more))))


def _correct_spelling(words: Fates, requirements: Requirements) -> _Corrected:
    """Replace misspelt arguments by the required ones of that name.

    A misspelt list stays: it never had an effect, and its values may name
    what the host needs.
    """
    by_name = {parse(text).name: text for text in requirements.arguments}
    lists = {parse(name).name: name for name, _ in requirements.lists}
    names = {
        *by_name,
        *lists,
        *(parse(text).name for text in requirements.forbidden),
    }
    fates, notes = list(words), []
    for index, text in _present(words):
        argument = parse(text)
        name = intended_name(argument.name, names)
        if argument.values is None and _needs_value(argument, by_name):
            name = argument.name
        if name in lists:
            notes.append(
                f"{text} has no effect, as the kernel knows no such argument;"
                f" {lists[name]}= is used instead"
            )
        elif name in by_name:
            is_there = includes(_arguments(fates), by_name[name])
            fates[index] = None if is_there else by_name[name]
            notes.append(
                f"{text} has no effect, as the kernel knows no such argument;"
                f" {'removed' if is_there else f'now {by_name[name]}'}"
            )
    return _Corrected(tuple(fates), tuple(notes))


def _needs_value(argument: Argument, by_name: Mapping[str, str]) -> bool:
    """Return whether the kernel rejects the argument without a value."""
    required = by_name.get(argument.name)
    return required is not None and parse(required).values is not None


def _replace_forbidden(words: Fates, requirements: Requirements) -> Fates:
    """Remove forbidden values; ``off`` becomes ``on`` where it stands."""
    bad = forbidden(requirements)
    fates = list(words)
    for index, text in _present(words):
        argument = parse(text)
        matched = [f for f in bad if argument.includes(f)]
        if not matched:
            continue
        allowed = [
            a for a in _arguments(fates) if not is_forbidden(a, requirements)
        ]
        fates[index] = _without(
            argument, matched, _replacement(argument, allowed, requirements)
        )
    return tuple(fates)


def _replacement(
    argument: Argument,
    present: Sequence[Argument],
    requirements: Requirements,
) -> tuple[str, ...]:
    """Return the values required of that name that are not present yet."""
    for text in requirements.arguments:
        required = parse(text)
        if required.name == argument.name and not includes(present, text):
            return required.values or ()
    return ()


def _without(
    argument: Argument, bad: Sequence[Argument], instead: tuple[str, ...]
) -> str | None:
    wrong = {value for one in bad for value in one.values or ()}
    values: list[str] = []
    for value in argument.values or ():
        values += instead if value in wrong else (value,)
    return argument.with_values(dict.fromkeys(values))


def _merge_lists(words: Fates, requirements: Requirements) -> _Corrected:
    """Merge lists of one name where the last one lacks a required value."""
    fates, notes = list(words), []
    for name, values in requirements.lists:
        places = [
            (index, parse(text))
            for index, text in _present(fates)
            if parse(text).name == parse(name).name
        ]
        if not places or includes_list([a for _, a in places], name, values):
            continue
        first, argument = places[0]
        listed = [v for _, a in places for v in a.values or () if v]
        for index, _ in places:
            fates[index] = None
        fates[first] = argument.with_values(dict.fromkeys((*listed, *values)))
        if len(places) > 1:
            notes.append(
                f"{name}= was there {len(places)} times, of which the kernel"
                f" uses the last; merged into {fates[first]}"
            )
    return _Corrected(tuple(fates), tuple(notes))


def _present(words: Iterable[str | None]) -> list[tuple[int, str]]:
    return [(index, w) for index, w in enumerate(words) if w is not None]


def _arguments(words: Iterable[str | None]) -> list[Argument]:
    return [parse(text) for _, text in _present(words)]


class Difference(NamedTuple):
    """Whole words; true where there are any."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed)

    @property
    def inverse(self) -> Difference:
        return Difference(self.removed, self.added)


def difference(before: Sequence[str], after: Sequence[str]) -> Difference:
    """Return the words that were added and removed, in their order."""
    added = Counter(after) - Counter(before)
    removed = Counter(before) - Counter(after)
    return Difference(_ordered(after, added), _ordered(before, removed))


def _ordered(words: Sequence[str], count: Counter[str]) -> tuple[str, ...]:
    return tuple(
        word for word in dict.fromkeys(words) for _ in range(count[word])
    )
