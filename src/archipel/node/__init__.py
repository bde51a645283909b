"""A provider's agent: dials out only, runs work in a child process, returns signed results."""
