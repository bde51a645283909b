"""Many adapters trained over one resident base: what is asked, and what came of it.

Parts: `operations` (what a tenant asks of its adapter, and the answers), `checks` (is it fit?), `losses` (the named
ones), `state` (an adapter, its moments and its gradient), `rows` (whose rows a pass has, and products that keep them
apart), `resident` and `head` (the base, layer by layer, and its last product), `tenants` (turns into outcomes).
Law: what comes of a tenant's operations is a pure function of base, state and operations, to the bit on one class of
machine, whoever else is in the pass.
"""
