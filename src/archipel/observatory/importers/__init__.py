"""Facts of others' files, taken into rows of a snapshot.

Laws: what cannot be read is refused with its place and a reason, and counted; two names are one model only if they are
the same id or a table of aliases says so; what a source does not say stays unknown.
"""
