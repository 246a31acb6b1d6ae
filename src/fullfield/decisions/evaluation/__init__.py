"""Compares maps of scores with labels: accuracy, ranking, calibration, overlap and detections."""
