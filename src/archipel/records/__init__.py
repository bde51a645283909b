"""Every statement that crosses a machine boundary: its version, bounds and canonical bytes."""
