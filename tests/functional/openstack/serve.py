"""Serves a WSGI application: ``serve.py MODULE PORT ARGUMENT…``.

A program of its own, run by the Python that the application is installed
for.  The arguments are all that the application finds on its command line,
which it reads.
"""

import importlib
import sys

module, port = sys.argv[1:3]
del sys.argv[1:3]

application = importlib.import_module(module).application
importlib.import_module("waitress").serve(
    application, host="127.0.0.1", port=int(port), threads=8
)
