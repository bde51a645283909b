"""Weights looked at without a tensor library: which version they are, and whether deltas lead from one to the next.

Parts: `stored` (safetensors files), `manifest` (what a version is), `difference` and `delta` (from one to the next),
`chain` (all versions of a bundle). Law: it reads what `model` writes and believes none of it; `model` is the
reference, and the tests compare the two byte for byte.
"""
