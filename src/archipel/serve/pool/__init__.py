"""One model on several of its owner's own devices, as pipelines of layer ranges."""
