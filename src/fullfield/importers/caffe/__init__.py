"""Caffe networks: ``.prototxt`` and ``.caffemodel`` in, and out again after net surgery."""
