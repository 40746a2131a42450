"""What the web demo says of a prediction, to a visitor and to a program: which classes, and whether it is sure."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from flowers_tl.inference.predictor import Predictor
from flowers_tl.results.conformal import conformal_threshold, validate_alpha
from flowers_tl.results.predictions import UNREADABLE, Predictions
from flowers_tl.runs.record import read_result
from flowers_tl.utils.errors import UserError
from flowers_tl.utils.templates import escape_markdown

# Classes that are named.
TOP = 5


def find_threshold(network: Predictor, alpha: float) -> float | None:
    """The least probability of a class that is predicted: a share ``alpha`` of the val images misses it with its true class.

    None where the run of these very weights has no val predictions, or too few.

    Raises:
        UserError: if ``alpha`` is not between 0 and 1.
    """
    validate_alpha(alpha)
    trained = network.trained
    if trained is None or trained.path.name == "best.ckpt":
        return None
    folder = trained.run_folder
    with suppress(UserError, *UNREADABLE):
        if (kept := Predictions.read(folder)) and read_result(folder).get("id") == trained.record.get("id"):
            val = kept.splits["val"]
            return conformal_threshold(val.logits / network.temperature, val.labels, alpha)
    return None


def explain_threshold(threshold: float | None, alpha: float) -> str:
    """What «sure» means, in a sentence for a visitor."""
    if threshold is None:
        return ""
    return (
        f"Sure means: exactly one class has a probability of at least {threshold:.1%}, which the true class of "
        f"{1 - alpha:.0%} of the run's validation images has."
    )


def describe_certainty(top: Sequence[tuple[str, float]], threshold: float | None) -> str:
    """The prediction in a sentence of Markdown; «not sure» where not exactly one class reaches the threshold."""
    likely = [one for one in top if threshold is None or one[1] >= threshold]
    if threshold is None or len(likely) == 1:
        return f"**{escape_markdown(describe(top[:1]))}**"
    if not likely:
        return f"**Not sure**: no class is likely enough. The first is {escape_markdown(describe(top[:1]))}."
    more = ", or others" if len(likely) == len(top) else ""
    return f"**Not sure**: {escape_markdown(describe(likely))}{more}."


def describe(classes: Sequence[tuple[str, float]]) -> str:
    """Classes with their probabilities, as a visitor reads them."""
    return " or ".join(f"{name} ({share:.1%})" for name, share in classes)


def endpoint(network: Predictor, max_mb: int, threshold: float | None) -> Any:
    """The route ``POST /predict``: the bytes of an image as the request, the most likely classes as JSON."""
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    def respond(content: bytes) -> JSONResponse:
        with TemporaryDirectory() as folder:
            file = Path(folder, "image")
            file.write_bytes(content)
            try:
                (one,) = network.predict(file, TOP)
            except UserError as error:
                return JSONResponse({"error": str(error).replace(str(file), "The image")}, 400)
        classes = [{"class": name, "probability": share} for name, share in one.top]
        sure = None if threshold is None else sum(share >= threshold for share in one.probabilities) == 1
        return JSONResponse({"classes": classes, "sure": sure})

    async def predict(request: Any) -> JSONResponse:
        content = bytearray()
        async for part in request.stream():
            content += part
            if len(content) > max_mb * 1e6:
                return JSONResponse({"error": f"The image has more than {max_mb} megabytes."}, 413)
        return await run_in_threadpool(respond, bytes(content))

    return Route("/predict", predict, methods=["POST"])
