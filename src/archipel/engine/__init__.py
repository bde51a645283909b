"""Tokens into tokens: continuous batching, KV cache, sampling, log-probabilities.

Start at `engine.LocalEngine`; `protocol.Engine` is what the rest of the house asks for.
"""
