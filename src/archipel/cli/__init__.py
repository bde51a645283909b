"""One file per command; the only room that reads the environment, flags and settings files."""
