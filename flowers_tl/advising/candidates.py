"""The candidates of a race: one strategy on one backbone each, with their configs and what became of them."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from hydra.core.override_parser.types import Quote, QuotedString

from flowers_tl.config.compose import compose_config, own_choices
from flowers_tl.config.keys import validate_conflicts
from flowers_tl.config.schema import CONF
from flowers_tl.models.preprocessing import with_preprocessing
from flowers_tl.models.pretrained import initial_weights
from flowers_tl.runs.run_id import fingerprint_weights
from flowers_tl.training.validate import validate_config, validate_weights
from flowers_tl.utils.errors import UserError, first_line

# Those of the sweep over strategies.
SWEEP = yaml.safe_load((CONF / "sweep" / "strategies.yaml").read_text(encoding="utf-8"))
STRATEGIES: list[str] = SWEEP["hydra"]["sweeper"]["params"]["strategy"].split(",")


# Its head stands for none: the outputs of all stages are looked at.
FROZEN = ("strategy=linear_probe", "strategy.head_from=[':head']", "strategy.neighbours=null")


@dataclass(eq=False)
class Candidate:
    """One strategy on one backbone.

    Attributes:
        name: the strategy's, with the network where there are several.
        network: name of the backbone, with that of its weights where it is there with several.
        words: the overrides of ``flowers_tl.train`` that make its runs, but for the seed.
        config: of the run with the first seed.
        hits: by seed, whether each val image is classified rightly, (seeds, images).
        folders: of its runs.
        tests: accuracy of those that are tested, by seed.
        seconds: that each of them took, before its test.
        cold: seconds that each would have taken with an empty cache, where that is known; it is what candidates are compared by.
        left: why it is not in the race any more, and after how many seeds.
        failed: why it gets no more seeds; it stays in the race with those that it has.
    """

    name: str
    network: str
    words: list[str]
    config: dict[str, Any]
    hits: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    folders: list[Path] = field(default_factory=list)
    tests: dict[int, float] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    cold: list[float] = field(default_factory=list)
    left: str = ""
    failed: str = ""

    @property
    def frozen_config(self) -> dict[str, Any]:
        """Its config with a strategy that takes the pretrained network as it is, whatever its own begins from."""
        return with_preprocessing(compose_config([*self.words, *FROZEN]))

    @property
    def seeds(self) -> int:
        return len(self.hits)

    @property
    def accuracy(self) -> float:
        """Mean validation accuracy; -1 without a run."""
        return float(self.hits.mean()) if self.seeds else -1.0

    @property
    def mean_seconds(self) -> float:
        """What a run takes, with an empty cache."""
        return float(np.mean(self.cold))

    def add(self, hits: np.ndarray, folder: Path, seconds: Mapping[str, float]) -> None:
        """Add a run with the next seed: its hits (images,), its folder, and its seconds as it records them."""
        self.hits = np.concatenate([self.hits.reshape(-1, len(hits)), hits[None].astype(float)])
        self.folders.append(folder)
        self.seconds.append(seconds["total"])
        self.cold.append(seconds.get("cold", seconds["total"]))


def list_backbones(text: str | None) -> list[list[str]]:
    """The overrides of each backbone in ``NAME``, ``A,B`` or ``[{name: A, weights: FILE}, B]``; one without any for None.

    Raises:
        UserError: if the text is none of these.
    """
    if text is None:
        return [[]]
    how = "write backbone=NAME, backbone=A,B or backbone='[{name: A, weights: FILE}, B]'"
    try:
        members = yaml.safe_load(text) if text.startswith("[") else text.split(",")
    except yaml.YAMLError as error:
        raise UserError(f"backbone={text} can't be read ({first_line(error)}): {how}.") from error
    overrides = []
    for member in members:
        settings = dict(member) if isinstance(member, dict) else {"name": member}
        if not isinstance(name := settings.pop("name", None), str):
            raise UserError(f"backbone={text} names no backbone with {member}: {how}.")
        overrides.append(
            [f"backbone={name.strip()}", *(f"backbone.{key}={quoted(value)}" for key, value in settings.items())]
        )
    return overrides


def quoted(value: Any) -> str:
    """A value as an override has it: in quotes only where Hydra would not read it as one word."""
    if isinstance(value, str):
        return value if re.fullmatch(r"[\w./@+-]+", value) else QuotedString(value, Quote.single).with_quotes()
    return yaml.safe_dump(value).split("\n")[0]


def list_candidates(
    strategies: Sequence[str],
    backbones: Sequence[Sequence[str]],
    overrides: Sequence[str],
    config_dir: Path | None = None,
) -> tuple[list[Candidate], list[str]]:
    """All strategies on all backbones, those of the user in ``config_dir`` too; and a sentence on each that does not fit.

    Raises:
        UserError: if no candidate is left, or a setting is none that a race can have.
    """
    overrides = [*own_choices(config_dir), *overrides]
    if twice := [name for name in strategies if strategies.count(name) > 1]:
        raise UserError(f"{twice[0]} is named twice: name each strategy once.")
    settings = [compose_config([*overrides, *words])["backbone"] for words in backbones]
    networks, contents = (
        name_networks(settings),
        [(one["name"], fingerprint_weights(one["name"], one["weights"])) for one in settings],
    )
    for number, content in enumerate(contents):
        if (first := contents.index(content)) < number:
            both = f"{networks[first]} and {networks[number]}"
            raise UserError(f"{both} are one network with the same weights: name it once.")
    candidates, left_out, validated = [], [], dict[tuple[str, str | None], set[str]]()
    for network, backbone in zip(networks, backbones, strict=True):
        for strategy in strategies:
            # What is said of one network counts more than what is said of all.
            words = [f"strategy={strategy}", *overrides, *backbone]
            config = compose_config(words)
            validate_race(config)
            name = strategy if len(backbones) == 1 else f"{strategy} {network}"
            try:
                model = validate_config(config)
            except UserError as error:
                left_out.append(f"{name} is left out: {first_line(error)}.")
                continue
            # Reading weights takes a while: once is enough.
            if (weights := (config["backbone"]["name"], initial_weights(config))) not in validated:
                validate_weights(config, model)
            same = validated.setdefault(weights, set())
            # A strategy that begins from random weights is the same with each of a network's weights.
            if strategy not in same:
                candidates.append(Candidate(name, network, words, with_preprocessing(config)))
            same.add(strategy)
    if not candidates:
        raise UserError(" ".join(["No strategy can be tried.", *left_out]))
    return candidates, left_out


def name_networks(backbones: Sequence[Mapping[str, Any]]) -> list[str]:
    """The name of each backbone, with that of its weights or their path where else another would have the same."""
    parts = [(one["name"], Path(str(one["weights"])).stem, str(one["weights"])) for one in backbones]
    forms = [(name, f"{name} {stem}", f"{name} {weights}") for name, stem, weights in parts]
    counts = Counter(name for names in forms for name in {*names})
    return [next((name for name in names if counts[name] == 1), names[-1]) for names in forms]


def validate_race(config: dict[str, Any]) -> None:
    """Raise UserError for settings that the runs of a race can't have."""
    conflicts = {
        "trainer.devices": str(config["trainer"]["devices"]) not in ("1", "auto"),
        "trainer.limit_val_batches": config["trainer"]["limit_val_batches"] is not None,
        "cache.enabled=false": not config["cache"]["enabled"],
    }
    validate_conflicts(
        config, conflicts, "here (each run is one on one device, with the cache, judged by all val images)"
    )
