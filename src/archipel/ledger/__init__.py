"""Append-only memory: entries, their RFC 6962 Merkle tree and its signed heads.

`merkle` hashes and proves, `signed_note` and `tree_head` sign (C2SP), `log` is the door, and
`sqlite_storage` and `postgres_storage` keep the bytes, in one of the `formats`; `head_file` keeps the
newest head outside them. `open_log` and `read_log` in `location` choose the storage by URL.
`verification` checks entries that came from elsewhere.
"""
