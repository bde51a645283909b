"""HTTP of a door: bodies in, answers out, and nothing decided here.

Parts: `app` (the application, who asks, bounds of bodies), `handlers` (a function for every call), `told` (ends of futures),
`listings` (rows of what there is), `links` (signed addresses of files), `metrics`.
"""
