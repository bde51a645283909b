"""A release copied from places that nobody believes to one that anybody can check.

Parts: `origins` (folders and addresses that files are read from), `signed` (whose signature, and what it says),
`fetching` (one file), `board` (who fetches what next), `kept` (the folder that is filled),
`s3` (buckets), `mirror` (all of it).
Law: the signature is read first and names every file; what does not have its digest is kept nowhere.
"""
