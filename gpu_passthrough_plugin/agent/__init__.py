"""What a host's agent finds, and what it does about it: pure."""
