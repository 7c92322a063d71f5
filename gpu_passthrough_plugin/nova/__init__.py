"""What Nova and Placement are told of a host's groups."""
