"""From a host, a tree or a recording to functions and host facts."""
