"""Try a network on a local web page: ``python -m flowers_tl.serve ckpt=RUN``."""

from dataclasses import dataclass

from flowers_tl.cli.image_arguments import NetworkOptions
from flowers_tl.cli.options import command
from flowers_tl.utils.errors import validate_count


@dataclass(kw_only=True)
class ServeOptions(NetworkOptions):
    """A local page: drop images, see the most likely classes, training images of these classes if they are on this
    machine, and a heat map; programs use POST /predict. Only this machine can open it unless host= says otherwise."""

    host: str = "127.0.0.1"
    """Address to listen on; with 0.0.0.0 other computers can open the page too."""
    port: int = 7860
    """Port to listen on."""
    max_mb: int = 20
    """Size of the largest file that is accepted, in megabytes."""
    explain: bool = True
    """false: without the heat map, which needs captum."""
    conformal: float = 0.1
    """Share of the run's validation images whose true class may be below the probability from which a class is sure."""


@command
def main(options: ServeOptions) -> None:
    """Serve the page until it is interrupted."""
    from flowers_tl.inference.predictor import load_network
    from flowers_tl.inference.web_demo import import_gradio, serve, validate_address

    validate_count("max_mb", options.max_mb)
    import_gradio()
    validate_address(options.host, options.port)
    network = load_network(options.ckpt, options.backbone, options.backbone__weights, options.device)
    serve(network, options.host, options.port, options.max_mb, options.explain, options.conformal)


if __name__ == "__main__":
    main()
