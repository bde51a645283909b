"""A model and all that it takes to check it, rebuild it and own it, as one signed folder.

Parts: `places` (what lies where in a bundle), `index` (its list of components), `stated` (what only a person can
say of it), `facts` (what the ledger knows of it). Laws: everything written is a pure function of `Facts`, `Stated`
and bytes named by their digest, so the same release made twice is the same bytes; nothing is invented, and what is
not known is said; no tensor library is loaded, so that anybody's machine can verify.
"""
