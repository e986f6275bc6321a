"""A network as a file for a runtime."""
