"""A strategy is a table over a network's stages: which are trained, how fast, from when on. What is not named is frozen.

    resnet18:            stem | layer1 | layer2 | layer3 | layer4 | neck | head
    feature_extraction     .       .        .        .        .       .    1e-3
    fine_tuning            .       .        .        .      1e-4      .    1e-3
    gradual_unfreezing     @6     @5       @4       @3       @2      @1    1e-3      (@6: from epoch 6 on)

It is plain data: a new strategy is a new yaml file in ``conf/strategy/``, not a new class. From the table and the epoch
alone follow ``requires_grad``, the train or eval mode of every module, and the optimizer's parameter groups. All groups
exist from the first epoch on and none is ever changed, so schedulers and resuming need to know nothing of unfreezing:
what is still frozen has no gradient, and optimizers leave it as it is.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flowers_tl.utils.errors import UserError, suggest

# Stage -> name of a parameter -> its kinds: a norm layer's bias is both norm and bias, `weight` is the rest.
ParameterKinds = Mapping[str, Mapping[str, frozenset[str]]]


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Args:
        stage: a stage's name (``head``), an index over the stem and feature stages (``-1`` is the last one), a slice of
            them (``"2:"``), a slice that names stages and runs over the whole row (``":head"``, ``"neck::-1"``), or ``all``.
        lr: learning rate of these stages, or a factor: with ``x0.5`` the first stage has half the rate of the row above, and each
            next stage half the rate of the one before.
        from_epoch: the epoch, counted from 0, from which on they are trained.
        every: the row's stages begin one after the other, this many epochs apart; None: all at once.
        weight_decay: decay of these weights; None: the optimizer's.
        only: kinds of parameters that are trained, out of ``norm``, ``bias`` and ``weight``; None: all.
        adapter: ``lora`` trains low-rank updates of the stages' layers in place of their weights, see
            :mod:`flowers_tl.models.adapters`; None: none.
        rank, alpha, layers: of the adapter: inner size (None: 8), factor times the rank by which the update counts (None: the
            rank, so it counts once), and which layers get one, out of ``attention``, ``mlp`` and ``conv`` (None: those of the
            attention where the row's stages have any, else all).
        l2_sp: strength of a pull towards the pretrained weights (Li, Grandvalet and Davoine 2018); None: none.
    """

    stage: str | int
    lr: float | str
    from_epoch: int = 0
    every: int | None = None
    weight_decay: float | None = None
    only: Sequence[str] | None = None
    adapter: str | None = None
    rank: int | None = None
    alpha: float | None = None
    layers: Sequence[str] | None = None
    l2_sp: float | None = None

    @property
    def kinds(self) -> Sequence[str]:
        """Kinds of parameters that are trained; empty for all."""
        return [self.adapter] if self.adapter else self.only or []


@dataclass(frozen=True)
class ParameterGroup:
    """A row, or one stage of a row that runs stage by stage, applied to a network: one group of the optimizer.

    ``parameters`` are dotted names inside the library's network; a stage that only pools has none.
    """

    name: str
    stages: tuple[str, ...]
    parameters: tuple[str, ...]
    lr: float
    from_epoch: int
    weight_decay: float | None
    l2_sp: float | None = None


@dataclass(frozen=True)
class Strategy:
    """The table, what backbone and head begin from, and what BatchNorm does in frozen stages.

    Args:
        name: what the strategy is called in records and comparisons; nothing branches on it.
        table: rows; stages that no row names are frozen.
        weights: ``pretrained`` begins from the backbone's weights, ``random`` ignores them.
        head: ``random`` begins from a fresh head, ``solved`` from the best one on the features as they are
            (:mod:`flowers_tl.models.linear_probe`), ``neighbours`` is no layer but the vote of the nearest training images.
        head_from: stages whose pooled outputs a solved head takes, as in a row's ``stage``; None: the neck's output alone.
        neighbours: numbers of neighbours of which val chooses one; None: those in :mod:`flowers_tl.models.frozen_heads`.
        frozen_batchnorm: ``eval`` keeps the statistics of frozen BatchNorm layers; ``train`` lets them follow the
            batches, as a plain notebook that calls ``model.train()`` does.
    """

    name: str
    table: tuple[Row, ...]
    weights: str = "pretrained"
    head: str = "random"
    frozen_batchnorm: str = "eval"
    head_from: Sequence[str | int] | None = None
    neighbours: Sequence[int] | None = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Strategy":
        """Build a strategy from plain Python (a yaml file's content, a checkpoint's hyper-parameters)."""
        strategy = cls(**{**values, "table": tuple(Row(**row) for row in values["table"])})
        if not re.fullmatch(r"\w[\w.-]*", strategy.name):
            raise UserError(
                f"strategy.name='{strategy.name}' can't be a folder's name: use letters and digits, and '_', '-' and '.' between."
            )
        for row in strategy.table:
            for key in ("only", "l2_sp") if row.adapter else ("rank", "alpha", "layers"):
                if getattr(row, key) is not None:
                    raise UserError(
                        f"Strategy '{strategy.name}' gives stage {row.stage} `{key}`, which has no effect "
                        f"{'beside an adapter' if row.adapter else 'without an adapter'}: leave it out."
                    )
        return strategy

    def make_groups(self, kinds: ParameterKinds, indexed: Sequence[str]) -> tuple[ParameterGroup, ...]:
        """Apply the table to a network.

        Args:
            kinds: of all its parameters, by stage, in the order of the stages.
            indexed: names of the stages that an index counts.

        Raises:
            UserError: if the table trains nothing, names a stage that is not there or a parameter twice, or has a
                value that makes no sense; the sentence says what would be right.
        """
        if not self.table and self.head == "random":
            raise UserError(
                f"Strategy '{self.name}' has an empty table, so nothing would be trained: add a row to strategy.table."
            )
        groups: list[ParameterGroup] = []
        claimed: dict[str, str] = {}
        for row in self.table:
            selected = self._select(row, kinds, indexed)
            for stage, parameters in selected.items():
                # A stage without parameters can be named twice too.
                for claim in parameters or (() if row.kinds else (stage,)):
                    if claim in claimed:
                        raise UserError(
                            f"Strategy '{self.name}' has stage {stage} in two rows, '{claimed[claim]}' and '{row.stage}': remove one."
                        )
                    claimed[claim] = str(row.stage)
            groups += self._apply(row, selected, groups[-1].lr if groups else None)
        return tuple(groups)

    def _select(self, row: Row, kinds: ParameterKinds, indexed: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Names of the parameters that the row trains, by stage."""
        selected = {
            stage: tuple(name for name, kind in kinds[stage].items() if not row.kinds or kind & set(row.kinds))
            for stage in self.resolve(row.stage, tuple(kinds), indexed)
        }
        if row.l2_sp and ("head" in selected or self.weights == "random"):
            raise UserError(
                f"Strategy '{self.name}' has l2_sp for stage '{row.stage}', which begins from random weights: leave it out there."
            )
        if row.only and not any(selected.values()):
            raise UserError(
                f"Strategy '{self.name}' trains only {' and '.join(row.only)} parameters of stage '{row.stage}', but this network "
                "has none there: choose another backbone or strategy, or leave `only` out."
            )
        return selected

    def _apply(
        self, row: Row, selected: Mapping[str, tuple[str, ...]], above: float | None
    ) -> Iterator[ParameterGroup]:
        """Turn a row into its groups: one, or one a stage where the rate or the first epoch differs from stage to stage."""
        lr, factor = self._rate(row, above)
        one_by_one = factor is not None or row.every is not None
        for k, part in enumerate([(name,) for name in selected] if one_by_one else [tuple(selected)]):
            kept = tuple(stage for stage in part if selected[stage] or not row.kinds)
            # A stage that is left out still counts in k, so that `only` changes no rate.
            if not kept:
                continue
            name = kept[0] if len(kept) == 1 else f"{kept[0]}-{kept[-1]}"
            yield ParameterGroup(
                name=" ".join([name, "+".join(row.kinds)]) if row.kinds else name,
                stages=kept,
                parameters=tuple(parameter for stage in kept for parameter in selected[stage]),
                # 0.00036, not 0.00035999999999999997.
                lr=float(f"{lr * (factor or 1) ** k:.6g}"),
                from_epoch=row.from_epoch + (row.every or 0) * k,
                weight_decay=row.weight_decay,
                l2_sp=row.l2_sp,
            )

    def _rate(self, row: Row, above: float | None) -> tuple[float, float | None]:
        """Return the rate of the row's first stage, and the factor from stage to stage where it has one."""
        text = str(row.lr)
        try:
            value = float(text.removeprefix("x"))
        except ValueError:
            raise UserError(
                f"Strategy '{self.name}' gives stage {row.stage} the learning rate '{text}': use a number, or a "
                "factor of the row above such as x0.5."
            ) from None
        if not (value > 0 and math.isfinite(value)):
            raise UserError(
                f"Strategy '{self.name}' gives stage {row.stage} the learning rate {text}, which must be above 0 and finite; "
                "to freeze a stage, leave its row out."
            )
        if not text.startswith("x"):
            return value, None
        if above is None:
            raise UserError(
                f"Strategy '{self.name}' has the learning rate {text} in its first row, which has no row above: use a number."
            )
        return above * value, value

    def resolve(self, stage: str | int, stages: Sequence[str], indexed: Sequence[str]) -> tuple[str, ...]:
        """Turn a row's ``stage`` into the names that it stands for."""
        text = str(stage)

        def place(part: str) -> int | None:
            """Where a slice over the whole row begins or ends; a negative index counts back from the last indexed stage."""
            if part in stages:
                return stages.index(part)
            number = int(part) if part else None
            return number + len(indexed) if number is not None and number < 0 else number

        if text in (*stages, "all"):
            return tuple(stages) if text == "all" else (text,)
        try:
            parts = [part.strip() for part in text.split(":")]
            if len(parts) == 1:
                return (indexed[int(text)],)
            if set(parts) & set(stages):
                names = stages[slice(*map(place, parts[:2]), *map(int, parts[2:]))]
            else:
                names = indexed[slice(*(int(part) if part else None for part in parts))]
        except (ValueError, IndexError, TypeError):
            names = ()
        if not names:
            raise UserError(
                f"Strategy '{self.name}' names stage '{text}', which this backbone lacks: {suggest(text, [*stages, 'all'])}, "
                f"and as numbers 0 ({indexed[0]}) to {len(indexed) - 1} ({indexed[-1]})."
            )
        return tuple(names)
