"""Data into weights: supervised fine-tuning and reinforcement learning, tasks and their rewards.

Reading order: `rl` and `sft` (the loops), `trainer` (an update), `losses` and `algorithms` (what is
learned), `packing`, `scorer` and `optimiser` (how), `checkpoint` and `sharding` (how it lasts and
grows); `environments`, `grading` and `evaluation` (what is right, and how often).
Law: no engine and no money here; sampling comes in as an argument. Importing this package loads nothing.
"""
