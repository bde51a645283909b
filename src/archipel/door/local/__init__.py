"""A door's hands in one process: adapters trained and sampled over one base model, by one thread.

Parts: `hands` (`LocalHands`), `loading` (the base, and what lies over it), `fitting` (does it fit?), `desk` (the thread: cycles
of training and steps of an engine in turn), `shares` (whose turn it is), `turns` (operations that wait to be done), `sampling`
(prompts that wait to be answered), `questions` (one of these), `looking` (what else was likely), `adapters` (those that the
engine has now).
Law: whose turn it is changes when something is done, never what comes of it.
"""
