"""Why a function is not where it should be: one rule a cause.

A rule returns the cause, with what shows it, or None.  It is named as its
cause is.
"""
