"""Try a network on a page of your own: ``python -m flowers_tl.serve ckpt=RUN``."""

import socket
from typing import TYPE_CHECKING, Any

from flowers_tl.cli.image_arguments import add_network, load_network
from flowers_tl.cli.options import Options, parse_bool
from flowers_tl.utils.errors import UserError, exit_on_error

if TYPE_CHECKING:
    from pathlib import Path

HELP = """A local page: drop an image, see what the network takes it for, images of these classes where the run's training
images are at hand, and a heat map. Only this machine can open it unless host= says otherwise."""


def main(arguments: list[str] | None = None) -> None:
    """Serve the page until it is interrupted."""
    options = Options("serve", HELP)
    add_network(options)
    options.add("host", "address to listen on; 0.0.0.0 lets the whole network in", "127.0.0.1")
    options.add("port", "port to listen on", 7860, type=int)
    options.add("max_mb", "largest file that is taken, in megabytes", 20, type=int)
    options.add(
        "explain", "false: without the heat map, which needs captum", True, type=parse_bool, metavar="true|false"
    )
    with exit_on_error():
        serve(options.read(arguments))


def serve(chosen: dict[str, Any]) -> None:
    """Build the page and serve it."""
    from flowers_tl.inference.web_demo import FONTS, import_gradio, make_page

    if not 0 < chosen["port"] < 65536 or chosen["max_mb"] < 1:
        raise UserError(
            f"port={chosen['port']} must lie between 1 and 65535, and max_mb={chosen['max_mb']} be at least 1."
        )
    gradio = import_gradio()
    validate_address(chosen["host"], chosen["port"])
    network = load_network(chosen)
    examples = find_examples(chosen["ckpt"]) if chosen["ckpt"] else {}
    page = make_page(network, examples, chosen["explain"])
    theme = gradio.themes.Default(font=FONTS, font_mono="monospace")
    print(f"The page is at http://{chosen['host']}:{chosen['port']}; Ctrl-C ends it.", flush=True)
    page.launch(
        server_name=chosen["host"],
        server_port=chosen["port"],
        max_file_size=f"{chosen['max_mb']}mb",
        allowed_paths=[str(path) for path in examples.values()],
        theme=theme,
        share=False,
        ssr_mode=False,
        footer_links=[],
        quiet=True,
    )


def validate_address(host: str, port: int) -> None:
    """Raise UserError where nothing can listen there: gradio would speak of its own settings."""
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        raise UserError(
            f"{host}:{port} can't be had ({error}): name another port=N, or a host= of this machine."
        ) from error


def find_examples(ckpt: str) -> "dict[str, Path]":
    """A training image of each class of the network's run; none where the images are not at hand."""
    from flowers_tl.data.registry import make_data
    from flowers_tl.inference.checkpoint import load_trained

    config = load_trained(ckpt).config
    if config is None:
        return {}
    data = make_data(config)
    try:
        data.setup()
    except (UserError, OSError, RuntimeError):  # gone, or never on this machine: the page does without
        return {}
    train, first = data.images["train"], {}
    for file, label in zip(train.files, train.labels, strict=True):
        first.setdefault(train.classes[label], file)
    return first


if __name__ == "__main__":
    main()
