"""A market in a simulated world: the lab's own fold, decisions and admission among providers that are drawn."""
