"""The line that switches pbr on; metadata is in setup.cfg."""

import setuptools

setuptools.setup(pbr=True)
