"""Stage 6: an allocation becomes ``<hostdev>`` elements and a guest."""
