-- One ledger's chronicle. Times are Unix milliseconds by the lab's clock, a minute is one of 60,000 of them; `entry`, `first`
-- and `last` are positions in the ledger. Amounts stand still at 2^62.
CREATE TABLE chronicle (
    one   INTEGER PRIMARY KEY CHECK (one = 0),
    lab   TEXT NOT NULL,
    size  INTEGER NOT NULL CHECK (size >= 0)
) STRICT;

-- Keys, accounts and runs, in the order in which they came up; 0 is none.
CREATE TABLE name (id INTEGER PRIMARY KEY, word TEXT NOT NULL UNIQUE) STRICT;
INSERT INTO name VALUES (0, '');

CREATE TABLE growth (minute INTEGER PRIMARY KEY, entries INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL) STRICT;

-- Totals are up to the last entry.
CREATE TABLE run (
    id INTEGER PRIMARY KEY, entry INTEGER NOT NULL, at_ms INTEGER NOT NULL, programme TEXT NOT NULL, versions INTEGER NOT NULL,
    batch_groups INTEGER, refill INTEGER NOT NULL, stopped INTEGER, paid_micro INTEGER NOT NULL, units INTEGER NOT NULL, tokens INTEGER NOT NULL, bytes INTEGER NOT NULL
) STRICT;

-- Open ones: an answer is told without what was asked. One that ended unsaid stays until its version is far behind.
CREATE TABLE lease (
    work TEXT PRIMARY KEY, run INTEGER NOT NULL, node INTEGER NOT NULL, entry INTEGER NOT NULL, at_ms INTEGER NOT NULL,
    version INTEGER, groups TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX lease_node ON lease (node);
CREATE INDEX lease_run ON lease (run);

-- Versions, with what their answers measured; totals are the run's up to that entry.
CREATE TABLE point (
    run INTEGER NOT NULL, version INTEGER NOT NULL, entry INTEGER NOT NULL, at_ms INTEGER NOT NULL, node INTEGER NOT NULL,
    granted INTEGER, granted_ms INTEGER, anchor_bytes INTEGER, delta_bytes INTEGER,
    paid_micro INTEGER NOT NULL, units INTEGER NOT NULL, tokens INTEGER NOT NULL, bytes INTEGER NOT NULL, metrics TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX point_version ON point (run, version);

CREATE TABLE exam (
    run INTEGER NOT NULL, version INTEGER NOT NULL, entry INTEGER NOT NULL, at_ms INTEGER NOT NULL, node INTEGER NOT NULL,
    metrics TEXT NOT NULL, PRIMARY KEY (run, version)
) STRICT, WITHOUT ROWID;

-- Groups of a version's batch by how many versions older the weights are that they were sampled from.
CREATE TABLE age (
    run INTEGER NOT NULL, version INTEGER NOT NULL, age INTEGER NOT NULL, groups INTEGER NOT NULL,
    first INTEGER NOT NULL, last INTEGER NOT NULL, PRIMARY KEY (run, version, age)
) STRICT, WITHOUT ROWID;

-- What came into an account and left it.
CREATE TABLE movement (
    account INTEGER NOT NULL, minute INTEGER NOT NULL, move TEXT NOT NULL, run INTEGER NOT NULL,
    in_micro INTEGER NOT NULL, out_micro INTEGER NOT NULL, count INTEGER NOT NULL, first_ms INTEGER NOT NULL,
    first INTEGER NOT NULL, last INTEGER NOT NULL, PRIMARY KEY (account, minute, move, run)
) STRICT, WITHOUT ROWID;

-- Every posting because of a run once, whichever accounts it joined.
CREATE TABLE cost (
    run INTEGER NOT NULL, minute INTEGER NOT NULL, move TEXT NOT NULL, micro INTEGER NOT NULL, count INTEGER NOT NULL,
    first INTEGER NOT NULL, last INTEGER NOT NULL, PRIMARY KEY (run, minute, move)
) STRICT, WITHOUT ROWID;

-- Answers that were accepted.
CREATE TABLE work (
    node INTEGER NOT NULL, minute INTEGER NOT NULL, kind TEXT NOT NULL, run INTEGER NOT NULL,
    answers INTEGER NOT NULL, units INTEGER NOT NULL, tokens INTEGER NOT NULL, bytes INTEGER NOT NULL, busy_ms INTEGER NOT NULL,
    first INTEGER NOT NULL, last INTEGER NOT NULL, PRIMARY KEY (node, minute, kind, run)
) STRICT, WITHOUT ROWID;

CREATE TABLE round (
    run INTEGER NOT NULL, number INTEGER NOT NULL, entry INTEGER NOT NULL, at_ms INTEGER NOT NULL, lots INTEGER NOT NULL,
    seals INTEGER NOT NULL, reveals INTEGER NOT NULL,
    cleared INTEGER, cleared_ms INTEGER, price_micro INTEGER, bought INTEGER, short INTEGER, PRIMARY KEY (run, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE withdrawal (
    entry INTEGER PRIMARY KEY, run INTEGER NOT NULL, at_ms INTEGER NOT NULL, author INTEGER NOT NULL,
    what TEXT NOT NULL, reason TEXT NOT NULL
) STRICT;
CREATE INDEX withdrawal_run ON withdrawal (run);
