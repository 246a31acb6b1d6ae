"""Folders of the Hugging Face Hub, in the cache of its own library."""

from __future__ import annotations

import os
from pathlib import Path

from fullfield.errors import CaptureError, first_line
from fullfield.importers.checkpoints.folder import CONFIG
from fullfield.importers.checkpoints.names import NetworkName
from fullfield.importers.checkpoints.packages import package

_FILES = [CONFIG, "preprocessor_config.json", "processor_config.json", "*.safetensors", "*.safetensors.index.json"]
_PICKLED = ["pytorch_model.bin", "pytorch_model-*.bin", "pytorch_model.bin.index.json"]


def hub_folder(network: NetworkName) -> Path:
    """The folder of a network of the Hub: from the cache, and downloaded into it where it is not there.

    Raises:
        CaptureError: huggingface_hub is not installed, the Hub cannot be reached, or has no such network.
    """
    hub = package("huggingface_hub", str(network))
    name, _, revision = network.name.partition("@")
    wanted = {"repo_id": name, "revision": revision or None}
    try:
        cached = Path(hub.snapshot_download(**wanted, allow_patterns=_FILES + _PICKLED, local_files_only=True))
        if _complete(cached):
            return cached
    except (hub.errors.LocalEntryNotFoundError, hub.errors.HFValidationError, OSError):
        pass
    try:
        folder = Path(hub.snapshot_download(**wanted, allow_patterns=_FILES))
        if not _has_weights(folder):
            folder = Path(hub.snapshot_download(**wanted, allow_patterns=_FILES + _PICKLED))
    except hub.errors.RepositoryNotFoundError as error:
        fix = "check the name; for a private one log in with: hf auth login"
        raise CaptureError(str(network), "the Hugging Face Hub shows no such network", fix=fix) from error
    except Exception as error:  # errors of the network have many types
        offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE", "0") not in ("0", "") else ""
        what = f"is not in the cache {hub.constants.HF_HUB_CACHE}, and the Hub cannot be reached{offline}: "
        fix = f"download it where there is a network: hf download {name}; or load its folder"
        raise CaptureError(str(network), what + first_line(error), fix=fix) from error
    return folder


def _complete(folder: Path) -> bool:
    return (folder / CONFIG).is_file() and _has_weights(folder)


def _has_weights(folder: Path) -> bool:
    return any(path.suffix in (".safetensors", ".bin") for path in folder.iterdir())
