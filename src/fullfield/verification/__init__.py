"""Windows run as crops, compared with the scan."""
