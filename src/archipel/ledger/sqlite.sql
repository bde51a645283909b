-- One log. `entry` holds what was appended, `tree_head` what was signed after each batch.
PRAGMA application_id = 0x41524350;  -- "ARCP"
PRAGMA user_version = 1;

CREATE TABLE entry (
    position  INTEGER PRIMARY KEY CHECK (position >= 0),
    leaf_hash BLOB NOT NULL CHECK (length(leaf_hash) = 32),
    data      BLOB NOT NULL
) STRICT;

CREATE TABLE tree_head (
    size INTEGER PRIMARY KEY CHECK (size >= 0),
    note BLOB NOT NULL
) STRICT;

-- Append-only is a rule of the file, not only of the program.
CREATE TRIGGER entry_never_changes BEFORE UPDATE ON entry
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER entry_never_goes BEFORE DELETE ON entry
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER tree_head_never_changes BEFORE UPDATE ON tree_head
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER tree_head_never_goes BEFORE DELETE ON tree_head
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
