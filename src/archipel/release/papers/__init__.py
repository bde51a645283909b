"""What is written of a release, from what its ledger knows and its owner says, and from nothing else.

Parts: `model_card`, `data_card`, `technical_report`, `eu_summary` (for people) · `citation`, `spdx`, `croissant`, `slsa`
(for others' tools) · `wording` (how times, numbers and licences are said), `tables` (what several papers show) ·
`stages` (what a run's making falls into). Laws: pure functions of `Facts`, `Stated` and the index, no clock; what
neither knows is said to be unknown; a stranger's words are quoted so that they stay words.
"""
