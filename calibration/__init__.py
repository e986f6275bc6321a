"""PURE NUMPY: which samples to calibrate with, which ranges they give. Knows no files and no frameworks."""
