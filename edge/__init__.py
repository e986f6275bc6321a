"""emotion-edge on the device: frame -> faces -> crop -> probabilities -> smoothed emotion -> event -> outbox -> broker.

Nothing here imports TensorFlow or Keras; a test holds that.
"""

import os

# OpenCV reads these once, when it is imported, so they are set before anything of ours imports it. What it would
# print is told by our own errors; a value from outside wins, for whoever wants to hear it.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
# Seconds after which a stalled V4L2 camera is an error instead of a wait; OpenCV's own value is 10.
os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "2")
# A picture of more pixels is refused before it is decoded, whatever the memory of the board (8192 x 8192).
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", "67108864")

__version__ = "0.1.0"
