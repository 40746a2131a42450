"""The code on model cards, run without this project, and images that a plain conversion to RGB would get wrong."""

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from odd_images import tiff
from PIL import Image

from flowers_tl.data.synthetic import SyntheticDataModule
from flowers_tl.exporting.formats import FORMATS
from flowers_tl.inference.checkpoint import TrainedModel
from flowers_tl.inference.predictor import Predictor
from flowers_tl.utils.errors import UserError

FILES = [one.file for one in FORMATS.values()]


def assert_card_answers_as_predict_does(file: str, out: Path, calibrated: TrainedModel, tmp_path: Path) -> None:
    """The code for a file on the card of an export in ``out``, as printed."""
    folder = shutil.copytree(out, tmp_path / "out")
    data = SyntheticDataModule(calibrated.config["data"]["root"], 3, 4, 2, 3, 32)
    data.setup()
    image = Image.open(data.images["test"].files[0]).resize((70, 45))
    exif = image.getexif()
    exif[274] = 6  # taken with the camera on its side
    image.save(folder / "image.jpg", exif=exif)
    block = re.search(rf"## Use {file}\n.*?```python\n(.*?)```", (out / "README.md").read_text(), re.DOTALL)[1]
    alone = f"import sys; sys.modules['flowers_tl'] = None; exec({block!r})"
    done = subprocess.run([sys.executable, "-c", alone], cwd=folder, capture_output=True, text=True, check=True)
    (own,) = Predictor.load(calibrated.path, "cpu").predict(folder / "image.jpg")
    lines = [line.split(" ", 1) for line in done.stdout.splitlines()]
    assert [name for _, name in lines] == list(own.classes)
    assert [float(share) for share, _ in lines] == pytest.approx(own.probabilities, abs=1e-4)
    assert own.probabilities[0] < 0.99  # a temperature that was forgotten would show


def odd_images(folder: Path) -> dict[str, Path]:
    """A scene in forms that a plain conversion to RGB would get wrong."""
    y, x = np.mgrid[0:45, 0:70]
    grey, alpha = (x * 3 + y).astype(np.uint8), Image.fromarray((y * 5).astype(np.uint8))
    images = {"sixteen": Image.fromarray(grey.astype(np.uint16) * 257), "grey alpha": Image.fromarray(grey)}
    images["grey alpha"].putalpha(alpha)
    images["colour alpha"] = Image.merge("RGB", [Image.fromarray(c) for c in (grey, 255 - grey, grey // 2)])
    images["colour alpha"].putalpha(alpha)
    images["palette"] = images["colour alpha"].convert("RGB").quantize(64)
    images["cmyk"] = images["colour alpha"].convert("RGB").convert("CMYK")
    files = {}
    for name, image in images.items():
        files[name] = folder / f"{name}.{'jpg' if name == 'cmyk' else 'png'}"
        image.save(files[name], **({"transparency": 3} if name == "palette" else {}))
    tiffs = {"float": tiff((grey / 255).astype("<f4")), "white is zero": tiff(grey.astype("<u2") * 257, 0)}
    tiffs |= {"signed": tiff(grey.astype("<i4")), "eight": tiff(grey.view(np.int8)), "wide": tiff(grey.astype("<f4"))}
    for name, content in tiffs.items():
        files[name] = folder / f"{name}.tif"
        files[name].write_bytes(content)
    return files


def answers_of_card(file: str, card: Path, images: dict[str, Path]) -> dict[str, list[list[str]]]:
    """The lines (probability, class) that the code of a card prints for each image; none where it refuses the image."""
    block = re.search(rf"## Use {file}\n.*?```python\n(.*?)```", card.read_text(), re.DOTALL)[1]
    codes = [f"print('image: {name}')\n" + block.replace("image.jpg", str(path)) for name, path in images.items()]
    alone = "import contextlib, sys; sys.modules['flowers_tl'] = None\n"
    alone += f"for code in {codes!r}:\n    with contextlib.suppress(SystemExit): exec(code, {{}})"
    done = subprocess.run([sys.executable, "-c", alone], cwd=card.parent, capture_output=True, text=True, check=True)
    parts = (part.splitlines() for part in done.stdout.split("image: ")[1:])
    return {name: [line.split(" ", 1) for line in lines] for name, *lines in parts}


def same_answers(images: Mapping[str, Path], exported: Path, network: Predictor) -> tuple[set[str], set[str]]:
    """The images for which the code of all three files says what the network says, and those that both refuse."""
    own = {}
    for name, image in images.items():
        with suppress(UserError):
            (own[name],) = network.predict(image)
    for file in FILES:
        for name, lines in answers_of_card(file, exported / "README.md", images).items():
            assert [label for _, label in lines] == list(own[name].classes if name in own else []), (name, file)
            shares = own[name].probabilities if name in own else []
            assert [float(share) for share, _ in lines] == pytest.approx(shares, abs=1e-4), (name, file)
    return set(own), images.keys() - own.keys()
