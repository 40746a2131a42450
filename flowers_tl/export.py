"""Hand a trained network on: ``python -m flowers_tl.export ckpt=RUN out=DIR``."""

from typing import Any

from flowers_tl.cli.options import Options
from flowers_tl.utils.errors import UserError, exit_on_error

HELP = """Write a trained network as files that others' tools read, with a model card: ONNX, a torch.export program, and a
safetensors state dict with torchvision's names. Each is compared with the checkpoint on images before it is there."""


def main(arguments: list[str] | None = None) -> None:
    """Write the files, and say how they compare with the checkpoint."""
    options = Options("export", HELP)
    options.add("ckpt", "a checkpoint, or a run's folder, whose last one is taken")
    options.add("out", "a new folder for the files")
    options.add("formats", "which files", "onnx,torch,safetensors", metavar="A,B")
    options.add(
        "images",
        "images to compare on: a file, a folder or a pattern; may be repeated (default: val images of its run)",
        action="append",
    )
    with exit_on_error():
        chosen = options.read(arguments)
        for key, example in (("ckpt", "PATH"), ("out", "DIR")):
            if not chosen[key]:
                raise UserError(f"{key} is missing: {key}={example}.")
        export(chosen)


def export(chosen: dict[str, Any]) -> None:
    """Do what the options say."""
    from rich.console import Console

    from flowers_tl.exporting import export as exporting
    from flowers_tl.exporting.model_card import same_class
    from flowers_tl.exporting.verify import TOLERANCE
    from flowers_tl.inference.checkpoint import load_trained

    trained, formats = load_trained(chosen["ckpt"]), chosen["formats"].split(",")
    with Console(stderr=True).status("Reading") as status:
        words, found = exporting.export(trained, chosen["out"], formats, chosen["images"] or (), status.update)
    for file, one in found.items():
        print(f"{file:18} same class first on {same_class(one)}; logits differ by {one.largest:.1g} at most")
    print(f"Compared with {trained.path} on {words}; {TOLERANCE:g} is allowed.")
    print(f"Written: {chosen['out']}; its README.md says how to use the files.")


if __name__ == "__main__":
    main()
