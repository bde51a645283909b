"""Several specialists behind one name: each question goes to the one that knows its topic, and unknown topics to the generalist."""
