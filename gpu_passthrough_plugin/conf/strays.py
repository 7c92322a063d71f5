"""Names in a file that no option has: most often misspelt ones."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from gpu_passthrough_plugin.conf.document import Document


def faults(
    document: Document,
    known: Mapping[str, Collection[str]],
    shared: Collection[str],
) -> Iterator[str]:
    """A line for each name that was hardly meant as it is written.

    A misspelt ``exclude`` that is silently passed over would hand out
    what the operator wanted kept.  Groups unlike any of ours are let be:
    they may belong to somebody's driver.

    :param known: every option of each of our groups.
    :param shared: groups whose other options are somebody else's.
    """
    for group, options in document.groups.items():
        if group not in known:
            near = _near(group, known)
            if near:
                yield (
                    f"{document.path}: [{group}] is no group; wanted [{near}]?"
                )
        elif group not in shared:
            for name in options:
                if name not in known[group]:
                    yield _fault(document.path, group, name, known[group])


def _fault(path: str, group: str, name: str, options: Collection[str]) -> str:
    wanted = _near(name, options) or f"one of: {', '.join(sorted(options))}"
    return f"{path}: [{group}] {name} is no option; wanted {wanted}"


def _near(name: str, names: Collection[str]) -> str:
    # Imported late: needed only where something is wrong.
    import difflib

    lowered = {known.lower(): known for known in names}
    close = difflib.get_close_matches(name.lower(), lowered, 1, 0.75)
    return lowered[close[0]] if close else ""
