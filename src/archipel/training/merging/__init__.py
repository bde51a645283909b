"""How contributions of strangers become the next version (docs/explanation/merges.md).

Parts: `contributions` (what comes in, what is said of each), `validity`, `copies`, `loss_gate`, `clipping`, `aggregates/`,
`outer`, in the order in which `merge` runs them; `sums` (sums whose bits are the same everywhere), `commitment`
(held-out text, bound before anybody contributes).
Law: numpy without BLAS, single IEEE operations, sums in a fixed order: whoever has the same bytes gets the same
weights, memory and verdicts, bit for bit.
"""
