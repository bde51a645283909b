"""Browsers that an operator's key vouched for: they read and wish, and sign nothing.

Parts: challenges (given out without memory), sessions (who is logged in, in memory), rates (how often one address may
ask), requests (bodies, cookies, where a request comes from), routes (HTTP), own (what an operator's page shows), rendering.
Law: of a secret only its hash is kept; whatever is kept is bounded, and a lab that starts again knows of no session.
"""
