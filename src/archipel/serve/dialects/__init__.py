"""HTTP dialects: each an adapter to one `Question` and from what is told of it. They do not know each other."""
