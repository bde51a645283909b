"""A training API that existing clients speak: many tenants' adapters over one base model.

Beside `lab`, over `training`, `engine` and `market`. Parts: `wire` (bytes into questions, answers into bytes), `hands`
(who does the work: this process, or nodes of a network), the state and journal of sessions, models and futures, keys
and quotas, HTTP.
Law: what was acknowledged is in the journal first; a model's operations are done once each, in the order of their
numbers; nobody is told of another's sessions, models, samples or checkpoints.
"""
