"""A host drawn: what a picture of it shows, where, and in which format."""
