"""Which of several models is the fastest on this very machine, at an accuracy that is still right: measured, never assumed."""
