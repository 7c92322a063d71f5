"""Texts whose format somebody else defines: one module each, and pure.

Every stage may use these.  A format is read here once, and nowhere else.
"""
