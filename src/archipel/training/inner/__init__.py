"""What a member does alone between two outer steps: inner steps on the text of its block, in plain float32.

Parts: `terms` (what a recipe says), `windows` (text as tensors, and its loss), `optimiser` and `muon` (how weights
move), `stepping` (one step after another, by one process or by several of a site as one member), `state` (all that the
next step follows from, and its digest), `member` (one work after another), `replaying` (a stretch made again by
somebody else). It knows no network but the house's own, no lab and no payload.
Law: the same base, windows and state give the same bytes on one class of machine.
"""
