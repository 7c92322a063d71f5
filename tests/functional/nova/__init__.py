"""Nova's own functional tests' fixtures, with what is generated for it.

Run by stestr in an environment of their own (``environment.sh``), which
``tests/functional/test_nova_fixtures.py`` starts: pytest cannot.
"""
