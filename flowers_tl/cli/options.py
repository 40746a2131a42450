"""Options of a command: a dataclass whose fields are typed ``key=value``, and whose docstrings are the help.

A field's type says what its value may be: str, Path, int, float, bool (``true`` or ``false``), a Literal of words, and a list
of any of these for an option that may be repeated. A field without a default must be named. In a key a dot is written as
two underscores, and a key that is a Python keyword ends in one: ``backbone__weights``, ``class_``. Everything behind the
first ``=`` is the value, so paths need no quotes but the shell's own.
"""

import ast
import functools
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import MISSING, dataclass, fields
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from flowers_tl import __version__
from flowers_tl.cli.exit import exit_on_error
from flowers_tl.utils.errors import UserError, suggest

WIDTH = 110
# What a number is called in the help, and in the sentence about a value that is none.
NUMBERS = {int: ("N", "a whole number"), float: ("NUMBER", "a number")}


@dataclass(frozen=True)
class Words:
    """In a field's Annotated type: the field takes words that are no ``key=value`` of another field.

    Attributes:
        shown: how the help writes them.
        accepts: whether a word is meant. A field that is no list takes one word.
    """

    shown: str
    accepts: Callable[[str], bool]


def is_override(*groups: str) -> Callable[[str], bool]:
    """Whether a word is ``key=value`` of these groups of the config; of any key where none is named."""
    return lambda word: "=" in word and (not groups or word.partition("=")[0].split(".")[0] in groups)


@dataclass(frozen=True)
class Option:
    """One field of a dataclass of options, as the command line knows it."""

    name: str
    kind: Any
    repeatable: bool
    default: Any
    help: str
    words: Words | None

    @property
    def key(self) -> str:
        """The name as it is typed."""
        return self.name.rstrip("_").replace("__", ".")

    @property
    def placeholder(self) -> str:
        """What stands for the value in the help."""
        if get_origin(self.kind) is Literal:
            return "|".join(get_args(self.kind))
        return {bool: "true|false", Path: "PATH"}.get(self.kind) or NUMBERS.get(self.kind, ("TEXT",))[0]

    @property
    def typed(self) -> str:
        """How the option is typed."""
        return self.words.shown if self.words else f"{self.key}={self.placeholder}"

    def read(self, text: str) -> Any:
        """The value of a text. Raises UserError if it is none."""
        if not text:
            raise UserError(f"{self.key}= names nothing: say {self.key}={self.placeholder}, or leave it out.")
        if self.kind is bool:
            if text not in ("true", "false"):
                raise UserError(f"{self.key}={text} must be true or false.")
            return text == "true"
        if get_origin(self.kind) is Literal:
            if text not in get_args(self.kind):
                raise UserError(f"There is no {self.key} '{text}': {suggest(text, get_args(self.kind))}.")
            return text
        try:
            return self.kind(text)
        except ValueError:
            raise UserError(f"{self.key}={text} is not {NUMBERS[self.kind][1]}.") from None

    def line(self) -> tuple[str, str]:
        """The option and its meaning, for the help."""
        more = ["may be repeated"] if self.repeatable and not self.words else []
        if self.default is MISSING and not self.words:
            more.append("must be named")
        if self.default not in (MISSING, None, ()):
            more.append(f"default: {as_typed(self.default)}")
        return self.typed, " ".join([self.help, *([f"({'; '.join(more)})"] if more else [])])


def as_typed(value: object) -> str:
    """A value as it is typed on the command line."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def read_options(schema: type) -> list[Option]:
    """The options of a dataclass."""
    hints, texts, options = get_type_hints(schema, include_extras=True), field_docstrings(schema), []
    for one in fields(schema):
        kind, words = hints[one.name], None
        if get_origin(kind) is Annotated:
            kind, words = get_args(kind)
        if NoneType in get_args(kind):
            (kind,) = (member for member in get_args(kind) if member is not NoneType)
        repeatable = get_origin(kind) is list
        default = () if one.default_factory is not MISSING else one.default
        kind = get_args(kind)[0] if repeatable else kind
        options.append(Option(one.name, kind, repeatable, default, texts.get(one.name, ""), words))
    return options


def field_docstrings(schema: type) -> dict[str, str]:
    """The string that stands below each field of a class, its bases' too."""
    texts: dict[str, str] = {}
    for base in [base for base in reversed(schema.__mro__) if base is not object]:
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0].body
        for one, below in pairwise(body):
            is_text = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
            if isinstance(one, ast.AnnAssign) and is_text:
                texts[one.target.id] = inspect.cleandoc(below.value.value).replace("\n", " ")
    return texts


def parse_options(schema: type, arguments: Sequence[str]) -> Any:
    """The dataclass with what the command line says.

    Raises:
        UserError: for an option that there is not, one that is named twice, a value that can't be, or one that is missing.
    """
    options = read_options(schema)
    by_key = {option.key: option for option in options if not option.words}
    values: dict[str, Any] = {}
    for number, word in enumerate(arguments):
        key, equals, text = word.partition("=")
        if word.startswith("--"):
            raise UserError(explain_flag(key, text or " ".join(arguments[number + 1 : number + 2]), by_key))
        if equals and key in by_key:
            option, value = by_key[key], by_key[key].read(text)
        else:
            option = next((option for option in options if option.words and option.words.accepts(word)), None)
            if option is None or (equals and get_close_matches(key, by_key, cutoff=0.8) and not Path(word).exists()):
                what = f"There is no option '{key}'" if equals else f"{word} can't be read as key=value"
                raise UserError(f"{what}: {suggest(key, by_key, most=20)}.")
            value = option.read(word)
        if option.repeatable:
            values.setdefault(option.name, []).append(value)
        elif option.name in values:
            raise UserError(f"{option.key} is named twice: name it once.")
        else:
            values[option.name] = value
    for option in options:
        if option.default is MISSING and option.name not in values:
            raise UserError(f"{option.key} is missing: {option.typed.rstrip('.')}.")
    return schema(**values)


def explain_flag(flag: str, value: str, known: dict[str, Option]) -> str:
    """What to type in the place of ``--flag value``."""
    key = flag.removeprefix("--").replace("-", "_")
    if key.removeprefix("no_") in known and key not in known:
        key, value = key.removeprefix("no_"), "false"
    if key not in known:
        return f"There is no option '{flag}': {suggest(key, known, most=20)}."
    return f"Options are typed key=value: say {key}={value or known[key].placeholder} instead of {flag}."


def format_help(usage: str, about: str, sections: Iterable[tuple[str, Iterable[tuple[str, str]]]]) -> str:
    """The help of a command: usage, what it does, and sections of (option, meaning), a line each."""
    lines = [f"Usage: {usage}", "", textwrap.fill(" ".join(about.split()), WIDTH)]
    for title, rows in sections:
        lines += ["", f"{title}:"]
        for option, meaning in rows:
            begin, indent = f"  {option:26}  ", " " * 30
            if len(begin) > len(indent) and meaning:
                lines.append(begin.rstrip())
                begin = indent
            lines.append(
                textwrap.fill(meaning, WIDTH, initial_indent=begin, subsequent_indent=indent) or begin.rstrip()
            )
    return "\n".join(lines)


FLAGS = (("--help", "Show this text."), ("--version", "Show the version of flowers_tl."))


def command(
    function: Callable[[Any], int | None] | None = None, *, resume: Callable[[Any], str] = lambda options: ""
) -> Any:
    """Decorate a function of a dataclass of options into a command; what it returns is the exit code.

    Args:
        function: its one parameter is annotated with the dataclass, whose docstring says what the command does.
        resume: what to add to the sentence about an interruption, see :func:`flowers_tl.cli.exit.exit_on_error`.
    """
    if function is None:
        return functools.partial(command, resume=resume)
    (schema,) = (kind for name, kind in get_type_hints(function).items() if name != "return")

    @functools.wraps(function)
    def main(arguments: Sequence[str] | None = None) -> None:
        arguments, options = sys.argv[1:] if arguments is None else list(arguments), None
        with exit_on_error(lambda: resume(options)):
            exit_after_help(arguments, lambda: command_help(function, schema))
            options = parse_options(schema, arguments)
            code = function(options)
        if code is not None:
            sys.exit(code)

    return main


def command_help(function: Callable, schema: type) -> str:
    """The help of a command that composes nothing."""
    options = read_options(schema)
    usage = " ".join(
        [
            "python -m",
            sys.modules[function.__module__].__spec__.name,
            *(option.typed for option in options if option.words),
        ]
    )
    return format_help(f"{usage} key=value ...", schema.__doc__, [("Options", [*(o.line() for o in options), *FLAGS])])


def exit_after_help(arguments: Sequence[str], text: Callable[[], str]) -> None:
    """Print the help or the version and exit with 0, if a flag says so."""
    for flag in arguments:
        if flag in ("-h", "--help", "--version"):
            print(f"flowers_tl {__version__}" if flag == "--version" else text())
            raise SystemExit(0)
