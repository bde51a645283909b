"""Where weights and answers come from, as far as a bundle tells it: accounting, not causation.

Parts: `told` (a bundle looked at, and its blobs read), `learned` (which groups made which versions), `gradient` (what each
group weighed), `shares` (who and what, with entries), `proving` (those entries shown), `lineage` (what it was made
from), `picture`; `texts`, `corpus`, `suffixes`, `spans`, `kept_index`, `answer` (what of an answer stands in the training
data). Law: every line names the entries of the ledger or the places in the data that show it, or says that nothing does.
"""
