"""Pages of public interfaces, taken politely and kept as they came, until a snapshot is made of them.

Law: what came is kept with its digest before anything is made of it; a page that is kept is not asked for again.
"""
