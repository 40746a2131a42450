"""What a user installs is whole: a wheel holds all files, and its command runs outside the checkout."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*command: str, cwd: Path, **environment: str) -> str:
    process = subprocess.run(command, cwd=cwd, env=environment or None, capture_output=True, text=True, timeout=600)
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT), cwd=folder)
    (file,) = folder.glob("*.whl")
    return file


@pytest.mark.slow
def test_a_wheel_holds_every_file_of_the_package(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder, place in (
        ("flowers_tl", "flowers_tl"),
        ("hydra_plugins", "hydra_plugins"),
        ("conf", "flowers_tl/conf"),
    ):
        for file in (ROOT / folder).rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                assert f"{place}/{file.relative_to(ROOT / folder).as_posix()}" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/", "docs/"))]


@pytest.mark.slow
def test_the_command_of_a_wheel_trains_outside_the_checkout(wheel, tmp_path):
    place = tmp_path / "installed"
    run(
        sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(place), str(wheel), cwd=tmp_path
    )
    script = [sys.executable, str(place / "bin" / "flowers-tl")]
    environment = {"PYTHONPATH": str(place), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert run(*script, "--version", cwd=tmp_path, **environment) == f"flowers_tl {version}\n"
    words = [
        "data=synthetic",
        "data.num_classes=2",
        "data.train_per_class=2",
        "data.val_per_class=1",
        "data.test_per_class=1",
    ]
    words += [
        "data.image_size=32",
        "backbone.weights=null",
        "trainer.max_epochs=1",
        "trainer.enable_progress_bar=false",
    ]
    output = run(*script, "train", *words, cwd=tmp_path, **environment)
    folder = output.strip().splitlines()[-1].removeprefix("Run folder: ")
    assert (tmp_path / folder / "result.json").is_file()
