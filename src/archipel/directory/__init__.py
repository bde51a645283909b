"""A directory of labs: signed cards from any number of sources, the newest of each lab, and no registrar (decision 0117).

Parts: `card` (one, believed by its signature), `cards` (the newest of each lab; pure), `known` (what is kept when more come than
there is room for; pure), `lines` (cards as a file that anybody may host), `shelf` (the file in which this machine keeps them),
`own` (a lab's own card), `viewed` (as people are shown it), `naming` (an address by a key's name), `asking` (sources over HTTP, files and folders), `gossip` (labs that learn of each other).
"""
