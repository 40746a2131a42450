"""The command line of doors that compose nothing: a few options, each ``key=value`` as everywhere in this project.

Everything behind the first ``=`` is the value, so paths need no quotes but the shell's own, whatever they hold. argparse
does the rest: types, choices, defaults and help.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from flowers_tl.utils.errors import UserError, suggest, validate_not_empty


class Options(argparse.ArgumentParser):
    """Options of ``python -m flowers_tl.<door>``; a key may hold dots.

    Args:
        door: the command's name.
        description: what it does, for the help.
        overrides: parts of the config (``data``) of which the command also takes keys as ``train`` does.
    """

    def __init__(self, door: str, description: str, overrides: Sequence[str] = ()) -> None:
        more = " and ".join(f"{part}=... or {part}.KEY=..." for part in overrides)
        super().__init__(
            prog=f"python -m flowers_tl.{door}",
            description=description,
            epilog=f"Also {more}, as python -m flowers_tl.train --help lists them." if overrides else None,
            allow_abbrev=False,
            formatter_class=AsTyped,
        )
        self.usage, self.overrides = f"{self.prog} key=value ...", overrides
        self.repeatable: set[str] = set()

    def add(self, key: str, help: str, default: Any = None, **how: Any) -> None:
        """Add an option; ``how`` is what argparse's add_argument takes (type, choices, action)."""
        if how.get("action") == "append":
            self.repeatable.add(key)
        shown = "" if default in (None, False) else f" (default: {default})"
        name = how.pop("metavar", None) or ("|".join(how["choices"]) if "choices" in how else "VALUE")
        self.add_argument(f"--{key}", dest=key, metavar=name, help=help + shown, default=default, **how)

    def read(self, arguments: Sequence[str] | None = None) -> dict[str, Any]:
        """The options that the command line gives, and the others' defaults; ``overrides`` as they are, a list.

        Raises:
            UserError: if it names an option that there is not, or a value that can't be, an empty one among them.
        """
        words, keys = sys.argv[1:] if arguments is None else list(arguments), [a.dest for a in self._actions]
        own, overrides, seen = [], [], set()
        for word in words:
            key, equals, _ = word.removeprefix("--").partition("=")
            if equals and key in seen - self.repeatable:
                raise UserError(f"{key} is named twice: name one.")
            seen.add(key)
            if word in ("-h", "--help") or (equals and key in keys):
                own.append(word if word.startswith("-") else f"--{word}")
            elif equals and key.split(".")[0] in self.overrides:
                overrides.append(word)
            else:
                what = f"There is no option '{key}'" if equals else f"{word} can't be read as key=value"
                raise UserError(f"{what}: {suggest(key, [k for k in keys if k != 'help'], most=20)}.")
        chosen = vars(self.parse_args(own))
        validate_not_empty(chosen)
        return chosen | {"overrides": overrides}

    def error(self, message: str) -> NoReturn:
        raise UserError(message.removeprefix("argument --") + ".")


class AsTyped(argparse.HelpFormatter):
    """Help that shows options as they are typed."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        return "-h, --help" if action.dest == "help" else f"{action.dest}={action.metavar}"


def parse_bool(text: str) -> bool:
    """``true`` or ``false``."""
    if text not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text} must be true or false")
    return text == "true"
