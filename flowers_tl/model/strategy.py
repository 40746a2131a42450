"""A strategy is a table over a network's stages: which of them learn, and at which rate. What is not named is frozen.

    resnet18:            stem | layer1 | layer2 | layer3 | layer4 | neck | head
    feature_extraction     .       .        .        .        .       .    1e-3
    fine_tuning            .       .        .        .      1e-4      .    1e-3

It is plain data: a new strategy is a new yaml file in ``conf/strategy/``, not a new class. From the table alone follow
``requires_grad``, the train or eval mode of every module, and the optimizer's parameter groups.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from flowers_tl.errors import UserError, suggest


@dataclass(frozen=True)
class Row:
    """One row of the table.

    ``stage`` is a stage's name (``head``), an index over the stem and feature stages (``-1`` is the last one), a slice
    of them (``"2:"``), or ``all``. ``lr`` is the learning rate of the parameters there.
    """

    stage: str | int
    lr: float


@dataclass(frozen=True)
class Group:
    """A row applied to a network: the names of its stages, which become one group of the optimizer."""

    name: str
    stages: tuple[str, ...]
    lr: float


@dataclass(frozen=True)
class Strategy:
    """The table, what the backbone begins from, and what BatchNorm does in frozen stages.

    Args:
        name: what the strategy is called in records and comparisons; nothing branches on it.
        table: rows; stages that no row names are frozen.
        weights: ``pretrained`` begins from the backbone's weights, ``random`` ignores them.
        frozen_batchnorm: ``eval`` keeps the statistics of frozen BatchNorm layers; ``train`` lets them follow the
            batches, as a plain notebook that calls ``model.train()`` does.
    """

    name: str
    table: tuple[Row, ...]
    weights: str = "pretrained"
    frozen_batchnorm: str = "eval"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Strategy":
        """Build a strategy from plain Python (a yaml file's content, a checkpoint's hyper-parameters)."""
        strategy = cls(**{**values, "table": tuple(Row(**row) for row in values["table"])})
        if not re.fullmatch(r"\w[\w.-]*", strategy.name):
            raise UserError(
                f"strategy.name='{strategy.name}' can't name a folder: use letters, digits, '_', '-' and '.'."
            )
        for key, known in (("weights", ("pretrained", "random")), ("frozen_batchnorm", ("eval", "train"))):
            if getattr(strategy, key) not in known:
                raise UserError(
                    f"strategy.{key}={getattr(strategy, key)} is unknown: {suggest(getattr(strategy, key), known)}."
                )
        return strategy

    def to_dict(self) -> dict[str, Any]:
        """Plain Python, which a checkpoint holds and :meth:`from_dict` reads."""
        return asdict(self) | {"table": [asdict(row) for row in self.table]}

    def groups(self, stages: Sequence[str], features: Sequence[str]) -> tuple[Group, ...]:
        """Apply the table to a network's row of ``stages``, of which ``features`` are those that an index counts.

        Raises:
            UserError: if the table is empty, names a stage that is not there or the same stage twice, or has a rate
                that is not above zero.
        """
        if not self.table:
            raise UserError(f"Strategy '{self.name}' has no rows, so nothing would learn: add one to strategy.table.")
        groups: list[Group] = []
        for row in self.table:
            names = self._resolve(row.stage, stages, features)
            if not (row.lr > 0 and math.isfinite(row.lr)):
                raise UserError(
                    f"Strategy '{self.name}' gives stage {row.stage} the learning rate {row.lr}, which must be above 0 and finite; "
                    "to freeze a stage, leave its row out."
                )
            for group in groups:
                if shared := set(names) & set(group.stages):
                    raise UserError(
                        f"Strategy '{self.name}' names stage {min(shared)} twice, in rows '{group.name}' and '{row.stage}': "
                        "give each stage one row."
                    )
            groups.append(Group(names[0] if len(names) == 1 else str(row.stage), names, row.lr))
        return tuple(groups)

    def _resolve(self, stage: str | int, stages: Sequence[str], features: Sequence[str]) -> tuple[str, ...]:
        """Turn a row's ``stage`` into the names that it stands for."""
        text = str(stage)
        if text == "all":
            return tuple(stages)
        if text in stages:
            return (text,)
        try:
            if ":" in text:
                names = features[slice(*(int(part) if part else None for part in text.split(":")))]
            else:
                names = [features[int(text)]]
        except (ValueError, IndexError, TypeError):
            names = ()
        if not names:
            raise UserError(
                f"Strategy '{self.name}' names stage '{text}', which this backbone lacks: {suggest(text, [*stages, 'all'])}; "
                f"an index counts {', '.join(features)}."
            )
        return tuple(names)
