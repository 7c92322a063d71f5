"""Each of the operator's commands as a few calls of the stages.

Reads with ``discovery``, decides with the pure stages, acts with ``host`` and
the ledger.  One module a subject, so that a command imports only what it
needs.
"""
