"""A training API that existing clients speak: many tenants' adapters over one base model.

Beside `lab`, over `training`, `engine` and `market`. Parts: `wire` (bytes into questions, answers into bytes), `hands`
(who does the work: this process, `local`, or nodes of a network) · `journal` over `tables` (what was promised, on the disk)
with the acts on it: `sessions`, `models`, `futures`, `samplers`, `checkpoints`, `recorded` over `sequences` (records of
samples), `promising`, `outcomes`, `listing` · `ordering` (pure), `turning`, `driving` (models), `sampled` (samples) ·
`door`, `training_calls`, `sampling_calls`, `checkpoint_calls`, `admitting` over keys and quotas · `http`.
Law: what was acknowledged is in the journal first; a model's operations are done once each, in the order of their
numbers; nobody is told of another's sessions, models, samples or checkpoints.
"""
