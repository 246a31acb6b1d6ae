"""Files of networks to a ``Model``: ONNX, Caffe, Torch7, ``.pt2``, TorchScript, checkpoints."""
