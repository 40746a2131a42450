"""Look for what is wrong with a data set: ``python -m flowers_tl.audit data=folder data.root=photos``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from flowers_tl.cli.options import Positional, command, is_override


@dataclass(kw_only=True)
class AuditOptions:
    """Copies of images within and across splits, labels that look wrong, and files that can't be used: as a table, as audit.csv,
    and as a page with the images side by side. No image and no label is changed."""

    out: Path | None = None
    """Folder of the files; by default a new one in outputs."""
    overrides: Annotated[
        list[str],
        Positional("[data.KEY=...] [backbone=NAME] [cache.KEY=...]", is_override("data", "backbone", "cache")),
    ] = field(default_factory=list)
    """Keys of train: which images, and the network whose features say what is alike."""


@command
def main(options: AuditOptions) -> None:
    """Print how much is wrong, and write what."""
    from flowers_tl.auditing.audit import audit
    from flowers_tl.config.compose import compose_config

    audit(compose_config(["strategy=linear_probe", *options.overrides]), options.out)


if __name__ == "__main__":
    main()
