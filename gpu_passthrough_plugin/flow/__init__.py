"""Composes the stages: each of the operator's verbs as a few stage calls.

Reads by ``discovery``, decides by the pure stages, acts by ``host`` and
the ledger.  One module a verb, so that none imports what it has no use
for.
"""
