"""Pages over HTTP: where they lie, how they are drawn, what is kept of them for a second, and who is told that they grew.

Parts: `site` (which page an address is), `routes`, `frame` (HTML), `cache`, `events`, `files`, `headers`.
"""
