"""Measurements that carry the project's claims; each is one command and runs its arms side by side."""
