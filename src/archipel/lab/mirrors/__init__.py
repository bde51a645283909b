"""Mirrors of other labs, kept by this one: ledger and blobs as a successor would need them, and what was seen of each.

    HOME/mirrors/NAME/ledger/       the ledger (`ledger.mirror`)
                     /blobs/        what `garbage` calls needed, by digest
                     /evidence/     files that show a fork or a rollback (`ledger.evidence`)
                     /signed/       what was cosigned (`ledger.witness`)
                     /complete.note the newest head of which every blob is here (`complete`)
                     /seen.json     what was seen of the lab (`MirrorView`)

Parts: seen (pure: what an answer changes), keeping (the ledger, folded), blobs, complete (what can be gone on from at once),
comparing (heads that others saw), seen_files (reading what is there), door (HTTP), cosigned (signatures that others hand in),
figures (metrics).
"""
