"""OpenSSF Model Signing 1.0: one signature over every file of a folder, which strangers' tools check too.

Parts: `statement` (which files, with which digests), `bundle` (the statement, its signature and what it is checked
with), `key` (an elliptic curve key in a file), `folder` (a folder signed, and compared with what was signed),
`voucher` (an operator's word for a key). Law: nothing here opens a connection; a signature is checked over the bytes
that arrived. Source: the OMS specification, ossf/model-signing-spec.
"""
