"""A small and a large model behind one name: the small answers what it can, the large what it must."""
