"""What the libvirt hook reads of its host, and whom it hands over to."""
