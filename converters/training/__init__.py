"""Training: batches, the loop that can be killed and resumed, and what it keeps."""
