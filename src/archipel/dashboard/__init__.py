"""Pages that anybody may open of a lab, or of a mirror of it: what runs, who works, what was proven, what it cost.

Law: it reads what is public and decides nothing; whatever comes from a stranger is text and never markup; it meets the
lab in `records` and by the shapes of `source`, and neither imports the other.
"""
