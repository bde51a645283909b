"""Archipel: train, prove, own and run truly open language models on everyone's computers.

The rooms, their order and their laws stand in ARCHITECTURE.md.
"""

__version__ = "0.1.0"
