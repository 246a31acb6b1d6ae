"""Scores every window of a photograph in ONNX Runtime, as users would without fullfield: cut out, in batches of 16.

python benchmarks/crops_script.py model.onnx photo.png [step] [window]
"""

import os
import sys

import numpy as np
import onnxruntime
from PIL import Image

model, photo = sys.argv[1:3]
step, size = (int(a) for a in (sys.argv[3:] or ["32", "224"]))
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = len(os.sched_getaffinity(0))
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
image = np.asarray(Image.open(photo).convert("RGB"), np.float32).transpose(2, 0, 1) / 255
rows, columns = ((side - size) // step + 1 for side in image.shape[1:])
places = [(i * step, j * step) for i in range(rows) for j in range(columns)]
scores = []
for k in range(0, len(places), 16):
    windows = np.stack([image[:, y : y + size, x : x + size] for y, x in places[k : k + 16]])
    scores.append(session.run(None, {session.get_inputs()[0].name: windows})[0])
scores = np.concatenate(scores).reshape(rows, columns, -1)
print(scores.shape, scores.max())
