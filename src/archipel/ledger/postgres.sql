-- One log. `entry` holds what was appended, `tree_head` what was signed after each batch.
CREATE TABLE archipel_ledger_format (version integer NOT NULL);
INSERT INTO archipel_ledger_format VALUES (1);

CREATE TABLE archipel_entry (
    position  bigint PRIMARY KEY CHECK (position >= 0),
    leaf_hash bytea  NOT NULL CHECK (length(leaf_hash) = 32),
    data      bytea  NOT NULL
);

CREATE TABLE archipel_tree_head (
    size bigint PRIMARY KEY CHECK (size >= 0),
    note bytea  NOT NULL
);

-- Append-only is a rule of the database, not only of the program.
CREATE FUNCTION archipel_append_only() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON archipel_entry
    FOR EACH STATEMENT EXECUTE FUNCTION archipel_append_only();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON archipel_tree_head
    FOR EACH STATEMENT EXECUTE FUNCTION archipel_append_only();
