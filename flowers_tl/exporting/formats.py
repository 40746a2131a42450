"""The file formats of an export: how each is written, and read back.

All three compute the same logits, and carry the same metadata: names to JSON texts.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from flowers_tl.data.image_formats import FORMATS as IMAGE_FORMATS
from flowers_tl.exporting.verify import LogitsFunction
from flowers_tl.models.libraries import find_library
from flowers_tl.utils.errors import UserError, how_to_install, suggest
from flowers_tl.utils.files import dumps

# Holds example code for each.
USAGE = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes:
        file: its name.
        packages: that writing and checking it needs beside PyTorch.
        requirements: of the code in its ``usage``, as pip calls them.
        write: takes a torchvision network in eval mode on the CPU, the side of its images, metadata, and a path.
        read: takes the path.
    """

    file: str
    packages: tuple[str, ...]
    requirements: str
    write: Callable[[nn.Module, int, Mapping[str, str], Path], None]
    read: Callable[[Path], LogitsFunction]

    @property
    def usage(self) -> str:
        """Example code that predicts with this file, without this project."""
        names = f"use_{Path(self.file).suffix[1:]}.py", "read_image.py", "fit_image.py"
        code, read, fit = ((USAGE / name).read_text(encoding="utf-8") for name in names)
        # HEIC takes a package and a call of its own.
        return code.replace("# READ\n", read.replace("FORMATS", dumps([*IMAGE_FORMATS, "AVIF"])) + fit)


def trace(network: nn.Module, image_size: int) -> ExportedProgram:
    """The network as a graph of operations, for any number of images (n, 3, image_size, image_size)."""
    # From a single image the graph would be for single images.
    example = torch.zeros(2, 3, image_size, image_size)
    program = torch.export.export(network, (example,), dynamic_shapes=({0: Dim("batch")},))
    for node in program.graph.nodes:
        # It holds paths of this machine.
        node.meta.pop("stack_trace", None)
    return program


def write_onnx(network: nn.Module, image_size: int, metadata: Mapping[str, str], file: Path) -> None:
    """An ONNX model in one file: ``images`` in, ``logits`` out."""
    names = {"input_names": ["pictures"], "output_names": ["logits"], "dynamic_shapes": ({0: "batch"},)}
    program = torch.onnx.export(trace(network, image_size), **names, dynamo=True, verbose=False)
    program.model.metadata_props.update(metadata)
    program.save(file)


def read_onnx(file: Path) -> LogitsFunction:
    from onnxruntime import InferenceSession

    session = InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["logits"], {"pictures": images.numpy()})[0])


def write_torch(network: nn.Module, image_size: int, metadata: Mapping[str, str], file: Path) -> None:
    """A program of torch.export, which PyTorch runs without the code of the network."""
    # By way of memory: where a disk is full, the writer of files ends the whole process.
    content = BytesIO()
    torch.export.save(trace(network, image_size), content, extra_files=dict(metadata))
    file.write_bytes(content.getvalue())


def read_torch(file: Path) -> LogitsFunction:
    return torch.export.load(file).module()


def write_safetensors(network: nn.Module, image_size: int, metadata: Mapping[str, str], file: Path) -> None:
    """The state dict alone, under the names of torchvision or timm."""
    from safetensors.torch import save

    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    # `save_file` makes a file that only its owner may read.
    file.write_bytes(save(state, dict(metadata)))


def read_safetensors(file: Path) -> LogitsFunction:
    from safetensors import safe_open
    from safetensors.torch import load_file

    with safe_open(file, framework="pt") as content:
        metadata = {key: json.loads(text) for key, text in content.metadata().items()}
    make = find_library(metadata["backbone"]).find_function(metadata["backbone"])
    network = make(num_classes=len(metadata["class_names"]), **metadata["arguments"])
    network.load_state_dict(load_file(file))
    return network.eval()


FORMATS = {
    "onnx": Format(
        "model.onnx", ("onnx", "onnxscript", "onnxruntime"), "numpy onnxruntime pillow", write_onnx, read_onnx
    ),
    "torch": Format("model.pt2", (), "numpy pillow torch torchvision", write_torch, read_torch),
    "safetensors": Format(
        "model.safetensors",
        ("safetensors",),
        "numpy pillow safetensors torch torchvision",
        write_safetensors,
        read_safetensors,
    ),
}


def find_formats(names: Sequence[str]) -> dict[str, Format]:
    """The formats of these names, none twice.

    Raises:
        UserError: if there is no such format, or a package for it is missing.
    """
    for name in names:
        if name not in FORMATS:
            raise UserError(f"formats={name} is unknown: {suggest(name, FORMATS)}.")
        if missing := [package for package in FORMATS[name].packages if find_spec(package) is None]:
            raise UserError(f"formats={name} needs {' and '.join(missing)}: {how_to_install('export')}.")
    return {name: FORMATS[name] for name in names}
