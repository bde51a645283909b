"""Network, tokenizer, weight files and the versions of weights.

Parts: `config` (architecture), `network` (the decoder), `rotary`, `tokenizer`, `chat` (templates),
`directory` (Hugging Face layout in and out), `versions` (manifests, anchors, lossless deltas).
Law: knows nothing of training, sampling, money or who it works for.
"""
