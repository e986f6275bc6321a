"""Crop -> scores -> emotion, by the model's manifest alone."""
