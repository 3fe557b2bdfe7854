"""Reading a pickle without running it.

A pickle is a program: it imports what it names and calls it. Here its opcodes only move values about. What it
would import becomes a `Name`, what it would call becomes a `Foreign` that remembers the call, and nothing
else is made than dictionaries, lists, tuples, texts, bytes and numbers. So what a pickle says can be looked
at, whoever wrote it. The opcodes are those of `pickletools`, every protocol.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from itertools import islice
from typing import Any, NamedTuple, Protocol

from corrinit.errors import DamagedWeightsError, WeightsError

_MAPPINGS = ("collections.OrderedDict", "collections.defaultdict", "collections.Counter", "builtins.dict")
_MOST_STEPS = 10_000_000
"""Checkpoints take thousands, those with long histories millions; a byte can ask for a list, of 64 bytes."""

_ATOMS = (str, bytes, int, float, type(None))


class Readable(Protocol):
    """An open file, or one mapped into memory; the latter never reads more than there is."""

    def read(self, size: int = ..., /) -> bytes: ...

    def readline(self) -> bytes: ...

    def tell(self) -> int: ...


class Name(NamedTuple):
    """Something that a pickle would import."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Foreign(dict[Any, Any]):
    """An object that a pickle would make with code that is not run; as a mapping it has its entries.

    Args:
        function: what would be called, as a rule the `Name` of its class.
        arguments: of the call.
    """

    def __init__(self, function: object, arguments: object) -> None:
        super().__init__()
        self.function, self.arguments, self.state = function, arguments, None

    def __str__(self) -> str:
        return str(self.function) if isinstance(self.function, Name) else "an object"


class _Unread:
    """A key of a dictionary that is no text or number; it stands for itself alone."""

    def __repr__(self) -> str:
        return "an object"


def read_inert(
    file: Readable,
    call: Callable[[Name, tuple[Any, ...]], Any] = Foreign,
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """What a pickle holds, from the position of the file to its STOP.

    Args:
        file: at the start of the pickle; afterwards behind it.
        call: what stands for the result of a call, from the name of the function and its arguments.
        persistent: what stands for an object outside the pickle, from its id; None: there are none.

    Raises:
        WeightsError: if this is no pickle, or a damaged one.

    >>> import io, pickle
    >>> read_inert(io.BytesIO(pickle.dumps({"lr": 0.1, "shape": (3, 3)})))
    {'lr': 0.1, 'shape': (3, 3)}
    >>> str(read_inert(io.BytesIO(pickle.dumps(print))))
    'builtins.print'
    """
    try:
        return _Machine(call, persistent).run(file)
    except WeightsError:
        raise
    except (ValueError, LookupError, TypeError, EOFError, ArithmeticError, RecursionError) as error:
        raise DamagedWeightsError(
            f"its pickle is damaged: {str(error)[:200] or type(error).__name__}"
        ) from error


class _Machine:
    def __init__(
        self,
        call: Callable[[Name, tuple[Any, ...]], Any],
        persistent: Callable[[Any], Any] | None,
    ) -> None:
        self.call, self.persistent = call, persistent
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self, file: Readable) -> Any:
        steps = pickletools.genops(file)  # pyright: ignore[reportArgumentType]
        for opcode, argument, _ in islice(steps, _MOST_STEPS):
            if opcode.name == "STOP":
                return self.stack.pop()
            self._step(opcode.name, argument)
        raise EOFError(f"it has no end within {_MOST_STEPS:,} steps")

    def _step(self, opcode: str, argument: Any) -> None:
        stack = self.stack
        match opcode:
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                self.marks.append(stack)
                self.stack = []
            case "POP":
                if stack:
                    stack.pop()
                else:
                    self._to_mark()
            case "POP_MARK":
                self._to_mark()
            case "DUP":
                stack.append(stack[-1])
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "NONE":
                stack.append(None)
            case "NEWTRUE":
                stack.append(True)
            case "NEWFALSE":
                stack.append(False)
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST" | "EMPTY_SET":
                stack.append([])
            case "EMPTY_TUPLE":
                stack.append(())
            case "DICT":
                items = self._to_mark()
                self.stack.append({})
                _set_items(self.stack[-1], items)
            case "LIST" | "FROZENSET":
                items = self._to_mark()
                self.stack.append(items)
            case "TUPLE":
                items = self._to_mark()
                self.stack.append(tuple(items))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                size = int(opcode[-1])
                stack[-size:] = [_exactly(stack[-size:], size)]
            case "APPEND":
                _extend(stack[-2], [stack.pop()])
            case "APPENDS" | "ADDITEMS":
                items = self._to_mark()
                _extend(self.stack[-1], items)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                _set_items(stack[-1], [key, value])
            case "SETITEMS":
                items = self._to_mark()
                _set_items(self.stack[-1], items)
            case "GLOBAL":
                module, _, name = argument.partition(" ")
                stack.append(Name(module, name))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(Name(str(module), str(name)))
            case "EXT1" | "EXT2" | "EXT4":
                stack.append(Name("copyreg", f"extension {argument}"))
            case "REDUCE" | "NEWOBJ":
                arguments, function = stack.pop(), stack.pop()
                stack.append(self._called(function, arguments))
            case "NEWOBJ_EX":
                _, arguments, function = stack.pop(), stack.pop(), stack.pop()
                stack.append(self._called(function, arguments))
            case "INST":
                module, _, name = argument.partition(" ")
                arguments = self._to_mark()
                self.stack.append(self._called(Name(module, name), tuple(arguments)))
            case "OBJ":
                function, *arguments = self._to_mark()
                self.stack.append(self._called(function, tuple(arguments)))
            case "BUILD":
                state = stack.pop()
                if isinstance(stack[-1], Foreign):
                    stack[-1].state = state
            case "PERSID":
                stack.append(self._outside(argument))
            case "BINPERSID":
                stack.append(self._outside(stack.pop()))
            case "NEXT_BUFFER" | "READONLY_BUFFER":
                raise ValueError("it refers to buffers outside")
            case _:  # all others push a text, bytes or a number that stands in the pickle
                stack.append(argument)

    def _to_mark(self) -> list[Any]:
        items = self.stack
        self.stack = self.marks.pop()
        return items

    def _called(self, function: Any, arguments: Any) -> Any:
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            return Foreign(function, arguments)
        if str(function) in _MAPPINGS:
            return _mapping(arguments)
        return self.call(function, arguments)

    def _outside(self, identity: Any) -> Any:
        if self.persistent is None:
            raise ValueError("it refers to objects outside")
        return self.persistent(identity)


def _mapping(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    """`OrderedDict(...)` and its like: of a mapping, or of a list of pairs; of a factory it stays empty."""
    found: dict[Any, Any] = {}
    first = arguments[0] if arguments else None
    if isinstance(first, dict):
        found.update(first)
    elif isinstance(first, list):
        for pair in first:
            _set_items(found, list(_exactly(pair, 2)))
    return found


def _exactly(items: Any, size: int) -> tuple[Any, ...]:
    if len(items) != size:
        raise IndexError("a value is missing")
    return tuple(items)


def _extend(target: Any, items: list[Any]) -> None:
    if isinstance(target, list):
        target.extend(items)


def _set_items(target: Any, items: list[Any]) -> None:
    if not isinstance(target, dict):
        raise TypeError(f"it sets entries of {type(target).__name__}")
    if len(items) % 2:
        raise IndexError("a value is missing")
    for key, value in zip(items[::2], items[1::2], strict=True):
        target[_key(key)] = value


def _key(key: Any) -> Any:
    """A key that can be hashed without walking into it: tuples may be nested deeper than the stack is."""
    plain = isinstance(key, _ATOMS) or (
        isinstance(key, tuple) and all(isinstance(each, _ATOMS) for each in key)
    )
    return key if plain else _Unread()
