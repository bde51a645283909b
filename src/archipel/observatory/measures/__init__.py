"""Measures of open models: what the ATOM movement and others count, each a pure function of a snapshot.

Parts: `measure` (what a figure is), `sizes`; `adoption`, `ram`, `standing`, `lag`, `concentration`, `disclosure`; `table` (all of them
by id). Law: a definition that changes gets the next number, and the old one stays.
"""
