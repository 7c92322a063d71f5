"""Changes to how a host boots: carried out, journalled and reverted."""
