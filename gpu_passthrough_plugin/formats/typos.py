"""Which kernel argument a misspelt one was to be."""

from __future__ import annotations

from collections.abc import Collection

# Near a name that is looked for, and no misspelling of it.
# Source: Linux, kernel-parameters.txt; dracut.cmdline(7).
_KNOWN = frozenset({"amd_iommu", "intel_iommu", "iommu", "rd.driver.post"})
_LEAST_LIKENESS = 0.85


def meant(name: str, names: Collection[str]) -> str | None:
    """The name that this one was to be; None when it is as it should be.

    The kernel passes over a name that it does not know without a word,
    so that only its likeness shows.  One that was put out of use by more
    letters around it, such as ``xintel_iommu``, was meant so.

    :param name: with ``_`` for ``-``, as ``names`` have it.
    """
    if name in names or name in _KNOWN:
        return None
    lowered = name.lower()
    near = [
        other
        for other in names
        if abs(len(other) - len(name)) <= 2
        and (other == lowered or other not in lowered)
    ]
    if not near:
        return None
    # Imported late: on most hosts nothing is that near.
    import difflib

    found = difflib.get_close_matches(lowered, near, 1, _LEAST_LIKENESS)
    return found[0] if found else None
