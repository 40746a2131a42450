"""What tests share: drawn flowers, composed configs, and small runs made once."""

import csv
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

# Between two of the many small steps OpenMP's threads spin by default: twice the time, more where others use the machine.
# It reads this when torch is imported, here and in the processes that tests start.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from flowers_tl.cli.exit import PRINTER
from flowers_tl.config.schema import CONF
from tests.campaign.commands import TINY
from tests.command_server import CommandServer

# Lightning sets it in this process, where it is not set, when a test trains on several devices.
LIGHTNINGS = () if "OMP_NUM_THREADS" in os.environ else ("OMP_NUM_THREADS",)


def pytest_collection_modifyitems(items):
    missing = [name for name in ("FLOWERS102_ROOT", "FLOWERS_TL_WEIGHTS") if not os.environ.get(name)]
    no_gpu = not torch.cuda.is_available() and not os.environ.get("FLOWERS_TL_REHEARSE")
    for item in items:
        if "gpu" in item.keywords and no_gpu:
            item.add_marker(pytest.mark.skip(reason="needs a GPU; FLOWERS_TL_REHEARSE=1 runs it on a CPU"))
        if "real_data" in item.keywords and missing:
            item.add_marker(pytest.mark.skip(reason=f"needs the real data: {' and '.join(missing)} not set"))


@pytest.fixture
def wait(monkeypatch):
    """Let seconds pass on the clock of runs, which stands still else: a function of their number."""
    now = [100.0]
    monkeypatch.setattr("flowers_tl.utils.phase_timer.time.perf_counter", lambda: now[0])

    def passing(seconds: float) -> None:
        now[0] += seconds

    return passing


@pytest.fixture(scope="session")
def drawings(tmp_path_factory) -> Path:
    """Folder in which all tests draw their flowers, each set once."""
    return tmp_path_factory.mktemp("drawings")


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory) -> Path:
    """The cache folder of all tests that name none: not the user's."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["XDG_CACHE_HOME"] = str(folder)
    for name in ("FLOWERS_TL_CACHE", "FLOWERS_TL_RUNS"):
        os.environ.pop(name, None)
    return folder / "flowers_tl"


@pytest.fixture(autouse=True)
def interruptible():
    """Lightning leaves Ctrl-C ignored in this process once a run was interrupted: the next test gets it back."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def messages():
    """Print what the library logs as a command does: answers to stdout, notes to stderr."""
    logger = logging.getLogger("flowers_tl")
    logger.addHandler(PRINTER)
    logger.setLevel(logging.INFO)
    yield
    logger.removeHandler(PRINTER)
    logger.setLevel(logging.NOTSET)
    # Hydra, where a test has run it in this process, leaves a handler that writes into the test's own stream.
    root = logging.getLogger()
    root.handlers[:] = [handler for handler in root.handlers if type(handler) is not logging.StreamHandler]


@pytest.fixture(scope="session")
def tiny(drawings):
    """Overrides for a run of seconds: a function of further overrides, by key."""

    def overrides(**more: object) -> list[str]:
        keys = TINY | {"data.root": str(drawings)} | {key.replace("__", "."): value for key, value in more.items()}
        return [f"{key}={value}" for key, value in keys.items()]

    return overrides


@pytest.fixture(scope="session")
def config():
    """Compose conf/train.yaml with overrides into plain Python."""

    def composed(overrides: list[str]) -> dict:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return OmegaConf.to_container(compose("train", overrides=overrides), resolve=True, throw_on_missing=True)

    return composed


@pytest.fixture(scope="session")
def run_folder(tiny, config, tmp_path_factory) -> Path:
    """A finished run of fine_tuning on drawn flowers: ResNet18, three species, images of 32 pixels. Not to be changed."""
    from flowers_tl.training.run import train

    folder = tmp_path_factory.mktemp("trained") / "run"
    train(config(tiny(strategy="fine_tuning")), folder)
    return folder


@pytest.fixture(scope="session")
def resnet18_weights(tmp_path_factory) -> Path:
    """A file of ResNet18's own weights: random, with a head of 1,000 classes."""
    from torchvision.models import resnet18

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        network = resnet18()
    file = tmp_path_factory.mktemp("weights") / "drawn.pth"
    torch.save(network.state_dict(), file)
    return file


@pytest.fixture(scope="session")
def gpu() -> str:
    """The accelerator that tests marked gpu compare with a CPU: the GPU, or in a rehearsal the CPU itself."""
    return "gpu" if torch.cuda.is_available() else "cpu"


@pytest.fixture(scope="session")
def tested(run_folder):
    """The test split's predictions that this run has kept, and the images' files."""
    from flowers_tl.results.predictions import Predictions

    split = Predictions.read(run_folder).splits["test"]
    root = json.loads((run_folder / "result.json").read_text())["data"]["root"]
    return split, [Path(root, name) for name in split.images]


@pytest.fixture(scope="session")
def flowers_run(config, tmp_path_factory) -> Path:
    """A head solved on 306 real images, three of each species, for tests marked real_data."""
    from flowers_tl.training.run import train

    words = ["strategy=linear_probe", "backbone=mobilenet_v2", "backbone.weights=mobilenet_v2-imagenet-backbone.pth"]
    folder = tmp_path_factory.mktemp("flowers") / "run"
    train(config([*words, "data.limit=306", "trainer.accelerator=cpu", "trainer.enable_progress_bar=false"]), folder)
    return folder


@pytest.fixture
def photos(tmp_path):
    """Draw flowers into class folders: a function of the number of images by class, and of a folder's name."""
    import numpy as np

    from flowers_tl.data.synthetic import Species, draw_flower

    def drawn(counts: dict[str, int], folder: str = "photos") -> Path:
        for number, (name, count) in enumerate(counts.items()):
            (tmp_path / folder / name).mkdir(parents=True)
            for k in range(count):
                flower = draw_flower(Species.from_number(number), 37 + k % 3, np.random.default_rng([number, k]))
                flower.save(tmp_path / folder / name / f"{k}.jpg")
        return tmp_path / folder

    return drawn


@pytest.fixture
def write(tmp_path):
    """Write a run's folder by hand: a function of its name, strategy, seed and scores."""

    def make(
        name,
        strategy="fine_tuning",
        seed=0,
        val=0.9,
        test=0.8,
        loss=0.4,
        status="finished",
        lr=1e-3,
        epochs=3,
        fingerprint=None,
        **config,
    ):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        rows = [
            {"epoch": e, "train/loss": 2 - e / 2, "val/loss": loss + 2 - e, "val/accuracy": val} for e in range(epochs)
        ]
        with open(folder / "history.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        own = {"name": strategy, "table": [{"stage": "head", "lr": lr}]}
        own["weights"] = "random" if fingerprint == "random" else "pretrained"
        settings = {"strategy": own, "data": {"root": name}, "seed": seed} | config
        (folder / "config.yaml").write_text(yaml.safe_dump(settings))
        result = {
            "status": status,
            "seed": seed,
            "strategy": strategy,
            "epochs": epochs,
            "learning_rates": {"head": lr},
            "parameters": {"total": 1000, "trainable": 250},
            "val": {"accuracy": val, "loss": loss},
            "test": {"accuracy": test},
        } | ({"weights_fingerprint": fingerprint} if fingerprint else {})
        (folder / "result.json").write_text(json.dumps(result))
        return folder

    return make


@pytest.fixture
def figures(monkeypatch):
    """All figures that are saved, and saved they are."""
    from matplotlib.figure import Figure

    kept, save = [], Figure.savefig

    def keep(figure, *arguments, **more):
        kept.append(figure)
        return save(figure, *arguments, **more)

    monkeypatch.setattr(Figure, "savefig", keep)
    return kept


@pytest.fixture(scope="session")
def command_server():
    """Runs modules in processes that have torch and Lightning already; see command_server.py."""
    server = CommandServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def run_command(tmp_path_factory, command_server):
    """Run a command as a user does, in another process and another folder; return the finished process."""

    def run(name: str, *arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess:
        cwd = cwd or tmp_path_factory.mktemp("cwd")
        env = {key: value for key, value in os.environ.items() if key not in ("HYDRA_FULL_ERROR", *LIGHTNINGS)}
        # Others may be read before a module of the package is imported.
        if environment.keys() <= {"OMP_NUM_THREADS", "HYDRA_FULL_ERROR"} and sys.platform == "linux":
            return command_server.start(f"flowers_tl.{name}", arguments, cwd, env | environment).wait()
        command = [sys.executable, "-m", f"flowers_tl.{name}", *arguments]
        return subprocess.run(command, cwd=cwd, env=env | environment, capture_output=True, text=True, timeout=600)

    return run


@pytest.fixture(scope="session")
def chromium():
    """A headless Chromium that records what it asks the network for."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not browser or not driver:
        pytest.skip("needs chromium and chromedriver (Debian: chromium, chromium-driver), which are not there")
    selenium = pytest.importorskip("selenium.webdriver", reason="needs selenium, which is not installed")
    options = selenium.ChromeOptions()
    options.binary_location = browser
    for word in ("headless=new", "no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking",
                 "disable-component-update", "disable-sync", "disable-dev-shm-usage"):  # fmt: skip
        options.add_argument(f"--{word}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    started = selenium.Chrome(options=options, service=selenium.ChromeService(driver))
    yield started
    started.quit()
