"""The libvirt hook: what it reads, decides, and is made of."""
