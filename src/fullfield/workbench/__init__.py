"""What a ConvNet computes, to look at: patterns, matrices, meanings of "convolution", and LeNet's layers."""
