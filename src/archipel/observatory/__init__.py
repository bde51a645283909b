"""Adoption and openness of the world's open models, from dated snapshots that anybody can replay.

Law: a figure names the snapshot and the rows that it came from and the version of its definition; what is not known is
"unknown", never guessed; nothing that was taken in is ever overwritten.
"""
