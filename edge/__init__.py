"""emotion-edge on the device: frame -> faces -> crop -> probabilities -> smoothed emotion -> event -> outbox -> broker.

Nothing here imports TensorFlow or Keras; a test holds that.
"""

__version__ = "0.1.0"
