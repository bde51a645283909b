"""The exact contract (docs/reference/exact.md): inference whose every bit anybody can recompute.

Parts: `tables`, `variants` (names and identity), `rows` (quantised rows and their digits), `backends`
(who may multiply integers here), `projection`, `attention`, `sampling`, `arithmetic` (what the
engine takes), `forcing` and `replay` (recorded rollouts, recomputed), `trace`, `dispute` and `judge` (who
is right about one number).
Law: integer sums, and single IEEE operations; nothing is fused, nothing depends on an order.
"""
