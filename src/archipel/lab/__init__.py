"""The coordinator: its whole state is a pure fold over the ledger; it never loads a tensor library."""
