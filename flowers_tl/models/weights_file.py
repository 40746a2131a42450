"""Read files of weights: of this project, of torchvision and timm, and what others' training scripts leave."""

import os
import pickle
import re
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowers_tl.utils.errors import UserError, first_line, needs_extra, shorten

# Under which keys a training script keeps its network. Averaged weights come first, as in timm: they are what it measured.
KEYS = ("model_ema", "state_dict_ema", "state_dict", "model", "teacher")


def find_file(name: str) -> Path | None:
    """Return the path of ``name`` as it is or in the folder FLOWERS_TL_WEIGHTS, or None where neither is a file."""
    candidates = [Path(name), Path(os.environ.get("FLOWERS_TL_WEIGHTS") or "", name)]
    return next((path for path in candidates if path.is_file()), None)


def read_file(path: Path) -> tuple[dict[str, Tensor], str | None]:
    """Read the tensors of a file by name, and under which key they lay; no object but tensors is made.

    Raises:
        UserError: if it holds none, they are not finite, or it is a .safetensors file and that library is missing.
    """
    try:
        content = read_safetensors(path) if path.suffix == ".safetensors" else read_pickle(path)
        key = next((key for key in KEYS if isinstance(content.get(key), Mapping)), None)
        state = content[key] if key else content
        if not state or not all(isinstance(name, str) and is_plain(value) for name, value in state.items()):
            raise ValueError("it holds no plain tensors by name")
    except UserError:
        raise
    # torch.load raises nearly anything on a file that is no state dict.
    except Exception as error:
        reason = first_line(error).split(". ")[0]
        # PyTorch would advise to unpickle anything.
        if isinstance(error, pickle.UnpicklingError):
            made = re.search(r"GLOBAL (\S+)", str(error))
            reason = f"it holds {made[1] if made else 'objects that are no tensors'}, and running its code is not safe"
        raise UserError(
            f"{path} can't be read as weights ({reason}): use a state dict, saved by torch.save(model.state_dict(), FILE)."
        ) from error
    validate_finite(state, path)
    return dict(state), key


def read_pickle(path: Path) -> Mapping[str, Any]:
    """What torch.save has written, if it is a mapping. The arguments of a training script are plain values."""
    with torch.serialization.safe_globals([Namespace]):
        content = torch.load(path, map_location="cpu", weights_only=True)
    return content if isinstance(content, Mapping) else {}


def read_safetensors(path: Path) -> Mapping[str, Any]:
    with needs_extra("safetensors", f"{path} needs safetensors", "export"):
        from safetensors.torch import load_file
    return load_file(path)


def is_plain(value: Any) -> bool:
    """Whether this is a tensor whose numbers lie in memory: not a sparse one, a nested one, or one without numbers."""
    return isinstance(value, Tensor) and value.layout == torch.strided and not value.is_nested and not value.is_meta


def validate_finite(state: Mapping[str, Tensor], path: Path) -> None:
    """Raise UserError if a file's weights or statistics hold NaN or infinite numbers, or are no weights."""
    wrong = [
        name for name, tensor in state.items() if tensor.is_floating_point() and not tensor.float().isfinite().all()
    ]
    matrices = [tensor for tensor in state.values() if tensor.ndim > 1]
    if any(not tensor.is_floating_point() for tensor in matrices) or (matrices and not any(map(torch.any, matrices))):
        raise UserError(f"{path} holds only zeros or whole numbers, no weights: use a file of float weights.")
    if wrong:
        raise UserError(
            f"{path} holds NaN or infinite numbers in {shorten(wrong)}: its training diverged, or the file is damaged; use "
            "another file."
        )
