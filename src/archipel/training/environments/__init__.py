"""Environments: where tasks and rewards come from."""
