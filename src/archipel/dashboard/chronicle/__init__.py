"""Series over a ledger's whole life, in an SQLite file beside it: what versions measured, what moved, what cleared.

Parts: `tables.sql` · rows (what is read), gathered (entries into rows, pure), file (whose it is, its format) · writing,
reading. Law: every row names the entries that it comes from, and follows from the ledger alone: the same entries give the
same rows, however they were dealt out and wherever a writer was killed, so the file may be thrown away and made anew.
"""
