"""A bundle checked by somebody who believes nobody: no network, no tensor library, nothing but its bytes.

Parts: `report` (what was found), `files` (1 index and paths, 2 signature, 3 digests), `ledger` (4 tree and heads, 5 every
transition), `weights` (6 the last version, 7 every version), `licences` (8), `looking` (all of it, in order, and 9 what
is not shown). Law: a step that cannot look says so, and is not counted as one that held.
"""
