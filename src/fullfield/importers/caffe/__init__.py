"""Caffe networks: reads ``.prototxt`` and ``.caffemodel`` files, and writes both after net surgery."""

from fullfield.importers.caffe.weights import parameter_groups as parameter_groups
