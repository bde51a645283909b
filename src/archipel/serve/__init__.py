"""A model on its owner's own machine, behind the APIs that people's tools already speak."""
