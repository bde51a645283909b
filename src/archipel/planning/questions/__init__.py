"""The planner's questions, one file each: `plan(request, shelf) -> Plan`.

Law: every number is a quantity from the shelf, from the request, or derived from those; nothing is computed
here that a law in `laws/` or the sampling could compute.
"""
