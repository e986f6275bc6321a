"""From a Keras file or a data set to an artifact that is proven: load, quantize, export, compare. On the workstation."""
