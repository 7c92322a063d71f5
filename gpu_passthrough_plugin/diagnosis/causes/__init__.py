"""Rules that find causes: why a function is not ready for a guest.

A rule returns its cause with the evidence for it, or None where the cause
does not apply.  It is named after its cause, with ``_`` for ``-``.
"""
