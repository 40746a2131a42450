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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from flowers_tl.cli.exit import exit_on_error
from flowers_tl.cli.help import FLAGS, Help, exit_after_help
from flowers_tl.utils.errors import UserError, suggest, validate_not_empty


@dataclass(frozen=True)
class Positional:
    """In a field's Annotated type: the field takes words that are no ``key=value`` of another field.

    Attributes:
        shown: how the help writes them.
        accepts: whether a word is meant. A field that is no list takes one word.
    """

    shown: str
    accepts: Callable[[str], bool]


def is_override(*groups: str) -> Callable[[str], bool]:
    """Whether a word is ``key=value`` of these groups of the config; of any key where none is named."""
    return lambda word: (
        ("=" in word or word[:1] == "~") and (not groups or word.partition("=")[0].split(".")[0] in groups)
    )


@dataclass(frozen=True)
class Option:
    """One field of a dataclass of options, as the command line knows it."""

    name: str
    kind: Any
    repeatable: bool
    default: Any
    help: str
    words: Positional | None

    @property
    def key(self) -> str:
        """The name as it is typed."""
        return self.name.rstrip("_").replace("__", ".")

    @property
    def choices(self) -> tuple[str, ...]:
        """All values, where they can be listed."""
        return ("true", "false") if self.kind is bool else get_args(self.kind)

    @property
    def placeholder(self) -> str:
        """What stands for the value in the help."""
        return "|".join(self.choices) or {int: "N", float: "NUMBER", Path: "PATH"}.get(self.kind, "TEXT")

    @property
    def typed(self) -> str:
        """How the option is typed."""
        return self.words.shown if self.words else f"{self.key}={self.placeholder}"

    def read(self, text: str) -> Any:
        """The value of a text. Raises UserError if it is none."""
        validate_not_empty(text, self.words.shown.rstrip(".") if self.words else self.key)
        if self.choices:
            if text not in self.choices:
                named = text if self.words else f"{self.key}={text}"
                raise UserError(f"{named} must be {' or '.join(self.choices)}.")
            return text == "true" if self.kind is bool else text
        try:
            return self.kind(text)
        except ValueError:
            number = "a whole number" if self.kind is int else "a number"
            raise UserError(f"{self.key}={text} is not {number}.") from None

    def line(self) -> tuple[str, str]:
        """The option and its meaning, for the help."""
        more = ["may be repeated"] if self.repeatable and not self.words else []
        more += ["must be named"] if self.default is MISSING and not self.words else []
        more += [f"default: {as_typed(self.default)}"] if self.default not in (MISSING, None, ()) else []
        return self.typed, f"{self.help} ({'; '.join(more)})" if more else self.help


def as_typed(value: object) -> str:
    """A value as it is typed on the command line."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


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


@functools.cache
def field_docstrings(schema: type) -> dict[str, str]:
    """The string that stands below each field of a class, its bases' too."""
    texts: dict[str, str] = {}
    for base in [base for base in reversed(schema.__mro__) if base is not object]:
        tree = ast.walk(ast.parse(textwrap.dedent(inspect.getsource(base))))
        for one, below in pairwise(next(node.body for node in tree if isinstance(node, ast.ClassDef))):
            if isinstance(one, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                texts[ast.unparse(one.target)] = inspect.cleandoc(str(below.value.value)).replace("\n", " ")
    return texts


def parse_options(schema: type, arguments: Sequence[str]) -> Any:
    """The dataclass with what the command line says.

    Raises:
        UserError: for an option that there is not, one that is given twice, a value that can't be, or one that is missing.
    """
    options = read_options(schema)
    by_key = {option.key: option for option in options if not option.words}
    values: dict[str, Any] = {}
    for number, word in enumerate(arguments):
        key, equals, text = word.partition("=")
        if word.startswith("--"):
            placeholders = {key: option.placeholder for key, option in by_key.items()}
            raise UserError(explain_flag(key, text or " ".join(arguments[number + 1 : number + 2]), placeholders))
        if word in by_key:
            raise UserError(f"{word} has no value: write {by_key[word].typed}.")
        option = by_key.get(key) if equals else None
        if option is None:
            option, text = next((one for one in options if one.words and one.words.accepts(word)), None), word
            if option is None or (equals and get_close_matches(key, by_key, cutoff=0.8) and not Path(word).exists()):
                what = f"There is no option '{key}'" if equals else f"{word} can't be read as key=value"
                raise UserError(f"{what}: {suggest(key, by_key, most=20)}.")
        value = option.read(text)
        if option.repeatable:
            values.setdefault(option.name, []).append(value)
        elif option.name in values:
            raise UserError(f"{option.typed if option.words else option.key} is given twice: give it once.")
        else:
            values[option.name] = value
    for option in options:
        if option.default is MISSING and option.name not in values:
            raise UserError(f"{option.key} is missing: {option.typed.rstrip('.')}.")
    return schema(**values)


def explain_flag(flag: str, value: str, known: Mapping[str, str]) -> str:
    """What to type in the place of ``--flag value``; ``known`` are the keys, with what stands for the value."""
    key = flag.lstrip("-").replace("-", "_")
    if key.removeprefix("no_") in known and key not in known:
        key, value = key.removeprefix("no_"), "false"
    if key not in known:
        return f"There is no option '{flag}': {suggest(key, known, most=20)}."
    return f"Options are written key=value: use {key}={value or known[key]} instead of {flag}."


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


def command_help(function: Callable, schema: type) -> Help:
    """The help of a command that composes nothing."""
    options, module = read_options(schema), getattr(sys.modules[function.__module__].__spec__, "name", "")
    words = [option.typed for option in options if option.words]
    usage = " ".join(["python -m", module.removesuffix(".__main__"), *words, "key=value ..."])
    rows = [*(option.line() for option in options), *FLAGS]
    return Help(usage, schema.__doc__ or "", [("Options", rows)])
