"""The tables of a door's journal. Times are Unix milliseconds; ids are unguessable; folders are by ids of our own."""

FORMAT = 1
TABLES = """
CREATE TABLE IF NOT EXISTS sessions (
  id TEXT PRIMARY KEY, tenant TEXT NOT NULL, idem TEXT, about TEXT NOT NULL, sdk TEXT NOT NULL,
  made_ms INTEGER NOT NULL, seen_ms INTEGER NOT NULL, ended_ms INTEGER, why TEXT
) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS session_idem ON sessions (tenant, idem) WHERE idem IS NOT NULL;
CREATE INDEX IF NOT EXISTS session_alive ON sessions (tenant, made_ms) WHERE ended_ms IS NULL;

CREATE TABLE IF NOT EXISTS models (
  id TEXT PRIMARY KEY, tenant TEXT NOT NULL, session TEXT NOT NULL REFERENCES sessions (id), number INTEGER NOT NULL,
  base TEXT NOT NULL, form TEXT, seed INTEGER NOT NULL, about TEXT NOT NULL,
  made_ms INTEGER NOT NULL, asked_ms INTEGER NOT NULL, ended_ms INTEGER, broken TEXT,
  next_seq INTEGER NOT NULL,
  kept_seq INTEGER NOT NULL, kept_folder TEXT, steps INTEGER NOT NULL, bytes INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS model_session ON models (session);
CREATE INDEX IF NOT EXISTS model_tenant ON models (tenant, made_ms);

CREATE TABLE IF NOT EXISTS futures (
  id TEXT PRIMARY KEY, tenant TEXT NOT NULL, session TEXT NOT NULL, kind TEXT NOT NULL,
  place TEXT NOT NULL, seq INTEGER NOT NULL,
  digest BLOB NOT NULL, question BLOB, num_bytes INTEGER NOT NULL, again INTEGER NOT NULL DEFAULT 0,
  state TEXT NOT NULL, answer BLOB, answer_bytes INTEGER NOT NULL DEFAULT 0, blame TEXT, number INTEGER,
  made_ms INTEGER NOT NULL, ended_ms INTEGER, fetched_ms INTEGER
);
CREATE UNIQUE INDEX IF NOT EXISTS future_place ON futures (place, seq);
CREATE INDEX IF NOT EXISTS future_waiting ON futures (tenant, num_bytes) WHERE state = 'waiting';
CREATE INDEX IF NOT EXISTS future_unfetched ON futures (tenant, answer_bytes)
  WHERE fetched_ms IS NULL AND state <> 'waiting';
CREATE INDEX IF NOT EXISTS future_number ON futures (place, number) WHERE number IS NOT NULL;

CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS samplers (
  id TEXT PRIMARY KEY, tenant TEXT NOT NULL, session TEXT NOT NULL REFERENCES sessions (id), number INTEGER NOT NULL,
  base TEXT NOT NULL, checkpoint TEXT, clients INTEGER NOT NULL, made_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS sampler_session ON samplers (session);

CREATE TABLE IF NOT EXISTS checkpoints (
  id TEXT PRIMARY KEY, tenant TEXT NOT NULL, model TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
  folder TEXT NOT NULL, num_bytes INTEGER NOT NULL, base TEXT NOT NULL, form TEXT NOT NULL, about TEXT NOT NULL,
  made_ms INTEGER NOT NULL, expires_ms INTEGER, is_public INTEGER NOT NULL DEFAULT 0, session TEXT
) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS checkpoint_path ON checkpoints (model, kind, name);
CREATE INDEX IF NOT EXISTS checkpoint_tenant ON checkpoints (tenant, made_ms);
CREATE INDEX IF NOT EXISTS checkpoint_folder ON checkpoints (folder);

CREATE TABLE IF NOT EXISTS sequences (
  id TEXT PRIMARY KEY, tenant TEXT NOT NULL, prompt BLOB NOT NULL, prompt_length INTEGER NOT NULL,
  tokens BLOB NOT NULL, logprobs BLOB NOT NULL, weights TEXT NOT NULL, expires_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS sequence_prompt ON sequences (tenant, prompt_length, prompt);
CREATE INDEX IF NOT EXISTS sequence_expires ON sequences (expires_ms);
"""
