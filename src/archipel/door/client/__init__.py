"""The other side of a door: what asks one to train an adapter on a file of examples, and brings the adapter home.

Parts: examples (a file's lines as tokens), course (which of them when, and how fast: pure), kept (where a course stands,
on disk), line (HTTP, asked again as long as it makes sense), said (what a door answers, read within bounds), remote (one
model at a door), files (its adapter, fetched), learning (the loop).
Law: what a door says is never believed beyond its bounds and never names a place on this disk.
"""
