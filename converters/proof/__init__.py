"""Evidence: what a model is worth, and whether an artifact is as good as its original."""
