"""Readers of texts that other projects define: one pure module each.

Every stage may use these.  A format is read only here.
"""
