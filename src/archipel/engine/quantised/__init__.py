"""Weights held in fewer bits than they are computed with: 16, 8 and 4."""
