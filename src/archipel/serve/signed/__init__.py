"""Answers that can be repeated and are signed: what one comes from, its signed form, and its recomputation."""
