"""A bundle's way onto a board: one plan of files, and writers that lay it down in a folder, an image, on a card or over ssh."""
