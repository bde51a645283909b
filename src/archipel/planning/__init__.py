"""The planner: what a run or a lab costs, what it buys, when more scale stops paying; every number with its source.

quantity, units      numbers with a unit, an interval and a source or a formula
tables, entries      dated constants (`tables/`, `bibliography/`), the person's own on top, all checked
sampling             central values, Monte Carlo intervals, which inputs matter
laws/                published models as plain functions: scaling laws, reliability, synchronisation, the frontier
questions/           one file per question: request + shelf -> plan
plan, answering      a plan as graph, then as plain data
wording, drawing, page   the data as text, picture, one HTML file
asking, requests     how questions are put, saved and put again; comparing: two of them, world by world
checking             published figures (`published/`), asked as a stranger would ask them
Law: no tensor library, no clock, no network; same question, seed and tables, same bytes.
"""
