"""The help of a command, all of it or what has to do with one word, and the version."""

import textwrap
from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest
from typing import NamedTuple

from flowers_tl import __version__
from flowers_tl.utils.errors import UserError

WIDTH = 110
# The longest option that has its meaning on its own line.
LONGEST = 36
FLAGS = (("--help", "Show this text."), ("--version", "Show the version of flowers_tl."))


class Help(NamedTuple):
    """The help of a command: usage, what it does, and sections of (option, meaning), a line each."""

    usage: str
    about: str
    sections: Sequence[tuple[str, Iterable[tuple[str, str]]]]

    def format(self, word: str = "") -> str:
        """The text; with a ``word`` only the options that have to do with it. Raises UserError if none has."""
        lines = [] if word else [f"Usage: {self.usage}", "", textwrap.fill(" ".join(self.about.split()), WIDTH)]
        for title, all_rows in self.sections:
            rows = [row for row in all_rows if word.lower() in " ".join([title, *row]).lower()]
            # What is longer than its column has a line of its own.
            column = 4 + max((len(option) for option, _ in rows if len(option) <= LONGEST), default=0)
            lines += ["", title if title[-1] in ".:" else f"{title}:"] if rows else []
            for option, meaning in rows:
                text = textwrap.wrap(meaning, WIDTH - column) or [""]
                text = text if len(option) <= LONGEST or not meaning else ["", *text]
                pairs = zip_longest([f"  {option}"], text, fillvalue="")
                lines += [f"{begin:{column}}{line}".rstrip() for begin, line in pairs]
        if not lines:
            raise UserError(f"The help has no word '{word}': --help alone shows all of it.")
        return "\n".join(lines).lstrip("\n")


def exit_after_help(arguments: Sequence[str], help: Callable[[], Help]) -> None:
    """Print the help, of the word behind it alone if there is one, or the version and exit with 0, if a flag says so."""
    for flag, word in zip_longest(arguments, arguments[1:], fillvalue=""):
        if flag in ("-h", "--help", "--version"):
            word = "" if word.startswith("-") or "=" in word else word
            print(f"flowers_tl {__version__}" if flag == "--version" else help().format(word))
            raise SystemExit(0)
