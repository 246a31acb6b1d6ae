"""Opens images of any kind and size and reads them by region, ready for the network. Imports no torch."""
