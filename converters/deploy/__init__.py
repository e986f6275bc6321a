"""From a model to a board: a bundle that holds everything, and the ways in which it gets there."""
