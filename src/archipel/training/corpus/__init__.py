"""Text as token shards, and which part of them each contribution is trained on.

Reading order: `sources` (files into documents), `planning` (documents into shards), `tokenising` and
`shard` (a shard's bytes), `making` and `shard_child` (several at a time), `folder` (where a corpus lies),
`verifying` · `permutation` and `assignment` (which windows a work takes), `batches` (windows as tensors).
Laws: the same sources and settings give the same bytes, whatever makes them and however often it is stopped;
who takes which windows follows from integers alone. numpy at most, never torch.
"""
