"""All commands by one name: ``flowers-tl train strategy=fine_tuning`` is ``python -m flowers_tl.train strategy=fine_tuning``."""

import runpy
import sys

from flowers_tl.cli.exit import exit_on_error
from flowers_tl.cli.help import Help, exit_after_help
from flowers_tl.utils.errors import UserError, suggest

COMMANDS = {
    "train": "Train and test one strategy, and record the run; with -m many runs (a sweep).",
    "advise": "Find out which strategy suits your images, within a given time.",
    "audit": "Look for copies, wrong labels and unusable files in a data set.",
    "compare": "Compare finished runs: table, curves, advice, report.",
    "search": "Search for good settings by a validation score.",
    "evaluate": "Measure a trained network on any split, or on other images.",
    "predict": "Print the most likely classes of images.",
    "explain": "Draw heat maps: which parts of an image are evidence for a class.",
    "export": "Write a trained network as ONNX, torch.export and safetensors files.",
    "serve": "Try a network on a local web page.",
    "cache": "List or clear the cache.",
}
ABOUT = "Each command is also python -m flowers_tl.COMMAND; COMMAND --help lists its options."


def main() -> None:
    """Run the command that the first word names, as ``python -m`` does it; without a word list all commands."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    with exit_on_error():
        usage = "flowers-tl COMMAND key=value ..."
        exit_after_help([name], lambda: Help(usage, ABOUT, [("Commands", COMMANDS.items())]))
        if name not in COMMANDS:
            raise UserError(f"There is no command '{name}': {suggest(name, COMMANDS)}.")
    # Lightning and the parallel launcher start further processes by the module's name, which this gives, and sys.argv.
    del sys.argv[1]
    runpy.run_module(f"flowers_tl.{name}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
