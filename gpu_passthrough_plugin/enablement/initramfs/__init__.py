"""What builds the images that kernels start from, one system a module."""
