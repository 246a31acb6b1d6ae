"""Builds src/fullfield/data/rnet.onnx, the network of the demo, from the published weights.

MTCNN's refinement network: a face / background classifier of 24x24 px windows
(Zhang et al. 2016, doi 10.1109/LSP.2016.2603342).
The weights are from the wheel of facenet-pytorch 2.6.0, which is read as a zip file and never installed or run:

    pip download --no-deps facenet-pytorch==2.6.0 mtcnn==1.0.0
    python scripts/build_rnet.py facenet_pytorch-2.6.0-py3-none-any.whl [mtcnn-1.0.0-py3-none-any.whl]

The second wheel is optional: its weights are a separate conversion of the same Caffe model, and must be equal.
Reading it takes joblib and lz4.
"""

import argparse
import hashlib
import io
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import nn

import fullfield

TARGET = Path(__file__).parents[1] / "src" / "fullfield" / "data" / "rnet.onnx"
FACENET = ("facenet_pytorch/data/rnet.pt", "bbb937de72efc9ef83b186c49f5f558467a1d7e3453a8ece0d71a886633f6a86")
MTCNN = ("mtcnn/assets/weights/rnet.lz4", "cb00e6460f3c98b0bfafaba3c0a0ded4bdf6e62cee7174d969e8670d7e757fee")


class RNet(nn.Module):
    """R-Net without its second head, the regression of boxes.

    The pools round up, so their last row and column read a partial window; `dense4` reads the map as (x, y, channel).

    Shape: (n, 3, 24, 24) -> (n, 2), the probabilities of background and face
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 28, 3), nn.PReLU(28)
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2, self.prelu2 = nn.Conv2d(28, 48, 3), nn.PReLU(48)
        self.pool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv3, self.prelu3 = nn.Conv2d(48, 64, 2), nn.PReLU(64)
        self.dense4, self.prelu4 = nn.Linear(576, 128), nn.PReLU(128)
        self.dense5_1 = nn.Linear(128, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool1(self.prelu1(self.conv1(x)))
        x = self.pool2(self.prelu2(self.conv2(x)))
        x = self.prelu3(self.conv3(x))
        x = x.permute(0, 3, 2, 1).flatten(1)
        x = self.prelu4(self.dense4(x))
        return self.dense5_1(x).softmax(dim=1)


def member(wheel: Path, name: str, sha256: str) -> bytes:
    data = zipfile.ZipFile(wheel).read(name)
    if (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise SystemExit(f"{wheel}: {name} has SHA-256 {found}, not {sha256}")
    return data


def from_facenet(wheel: Path) -> dict[str, torch.Tensor]:
    weights = torch.load(io.BytesIO(member(wheel, *FACENET)), weights_only=True)
    return {name: tensor for name, tensor in weights.items() if not name.startswith("dense5_2.")}


def from_mtcnn(wheel: Path) -> dict[str, torch.Tensor]:
    """The weights of the package mtcnn in PyTorch's layout; it keeps Keras's (y, x, in, out) and (in, out)."""
    import joblib  # reads a pickle; `member` has checked its hash

    data = member(wheel, *MTCNN)
    with tempfile.NamedTemporaryFile(suffix=".lz4") as file:
        file.write(data)
        file.flush()
        arrays = joblib.load(file.name)
    c1, b1, p1, c2, b2, p2, c3, b3, p3, d4, b4, p4, _, _, d5, b5 = arrays
    layers = {"conv1": (c1, b1), "conv2": (c2, b2), "conv3": (c3, b3), "dense4": (d4, b4), "dense5_1": (d5, b5)}
    weights = {f"prelu{k}.weight": p.reshape(-1) for k, p in enumerate((p1, p2, p3, p4), start=1)}
    for name, (kernel, bias) in layers.items():
        weights[f"{name}.weight"] = kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T
        weights[f"{name}.bias"] = bias
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in weights.items()}


def compare(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    if ours.keys() != theirs.keys():
        raise SystemExit(f"the two packages name other weights: {ours.keys() ^ theirs.keys()}")
    for name, tensor in ours.items():
        worst = (tensor - theirs[name]).abs().max().item()
        print(f"  {name}: greatest difference {worst:g}")
        if worst > 1e-6:
            raise SystemExit(f"{name}: the two packages differ")


def check(network: nn.Module, path: Path) -> None:
    windows = torch.rand(64, 3, 24, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        wanted = network(windows).numpy()
    (found,) = session.run(None, {session.get_inputs()[0].name: windows.numpy()})
    worst = float(np.abs(found - wanted).max())
    print(f"  onnxruntime against PyTorch on 64 windows: greatest difference {worst:g}")
    if not worst < 1e-5:
        raise SystemExit("the written file does not compute the network")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("facenet", type=Path, help="the wheel of facenet-pytorch 2.6.0")
    parser.add_argument("mtcnn", type=Path, nargs="?", help="the wheel of mtcnn 1.0.0, to compare the weights with")
    choice = parser.parse_args()
    weights = from_facenet(choice.facenet)
    if choice.mtcnn is not None:
        compare(weights, from_mtcnn(choice.mtcnn))
    network = RNet().eval()
    network.load_state_dict(weights)
    names = ("background", "face")
    model = fullfield.load(network, window=24, preprocessing="mtcnn", class_names=names, name="R-Net")
    fullfield.save(model, TARGET, overwrite=True)
    check(network, TARGET)
    print(f"  {TARGET}: {TARGET.stat().st_size} bytes, SHA-256 {hashlib.sha256(TARGET.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
