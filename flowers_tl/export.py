"""Hand a trained network on: ``python -m flowers_tl.export ckpt=RUN out=DIR``."""

from dataclasses import dataclass, field
from pathlib import Path

from flowers_tl.cli.options import command


@dataclass(kw_only=True)
class ExportOptions:
    """Write a trained network as files that others' tools read, with a model card: ONNX, a torch.export program, and a
    safetensors state dict with torchvision's names. Each is compared with the checkpoint on images before it is saved."""

    ckpt: Path
    """A checkpoint, or the folder of a run (its last checkpoint is used)."""
    out: Path
    """A new folder for the files."""
    formats: str = "onnx,torch,safetensors"
    """Which files, separated by commas."""
    images: list[Path] = field(default_factory=list)
    """Images for the comparison: a file, a folder or a pattern; by default val images of the run."""


@command
def main(options: ExportOptions) -> None:
    """Write the files, and print how they compare with the checkpoint."""
    from rich.console import Console

    from flowers_tl.exporting.export import export
    from flowers_tl.exporting.model_card import same_class
    from flowers_tl.exporting.verify import TOLERANCE
    from flowers_tl.inference.checkpoint import load_trained

    trained = load_trained(options.ckpt)
    with Console(stderr=True).status("Reading") as status:
        images, agreements = export(
            trained, options.out, options.formats.split(","), list(map(str, options.images)), status.update
        )
    for file, agreement in agreements.items():
        print(
            f"{file:18} same class first on {same_class(agreement)}; logits differ by {agreement.largest:.1g} at most"
        )
    print(f"Compared with {trained.path} on {images}: no logit differs by more than {TOLERANCE:g}.")
    print(f"Written: {options.out}; its README.md says how to use the files.")


if __name__ == "__main__":
    main()
