"""Networks in: ``nn.Module`` and ONNX become one graph with its window and preprocessing."""
