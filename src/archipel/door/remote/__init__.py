"""A door's work done by nodes of a network: questions in a lab's ledger, bytes beside them, and answers from whoever was nearest.

Reading order: `lab` (what is needed of one), `history` (what was asked so far, and what is still needed), `asking` (one
question after the other, each waited for), `kept` (where a model's training goes on), `gathering` (prompts asked together),
`hands` (`RemoteHands`).
Law: the lab's ledger is the only memory: a door that forgot everything finds there what it asked, and asks nothing twice.
"""
