"""Fault: what is wrong with a field of a body, said as all our refusals are: "expected X, got Y".

msgspec names neither the other end of a range nor the values of an enum; the struct's own types do.
"""

import functools
import re
from typing import Any

import msgspec
from msgspec import inspect

from service.errors import InvalidFieldError

WHERE = re.compile(r"(.*?)(?: - at `(\$[^`]*)`)?", re.DOTALL)
FIELD = re.compile(r"Object (missing required|contains unknown) field `(.*)`", re.DOTALL)
# Of the right kind, but too large or too small; and of another kind.
SIZE = re.compile(r"Expected `[^`]*` (?:of length )?[<>]= -?\d+|(?:Integer value|Number) out of range")
KIND = re.compile(r"Expected `[^`]*`, got `[^`]*`|Invalid enum value .*", re.DOTALL)
STEP = re.compile(r"\.(\w+)|\[(\d+)\]")
# Stands for what cannot be read: JSON that breaks off, or a number that no machine holds.
UNREAD = object()

_shape = functools.cache(inspect.type_info)


def fault(error: msgspec.ValidationError, kind: type, body: bytes) -> InvalidFieldError:
    """What `error` says about `body` as a `kind`. A wording of msgspec that is not known is passed on as it is."""
    found = WHERE.fullmatch(str(error))
    assert found is not None
    message, path = found[1], found[2] or "$"
    shape: inspect.Type | None = _shape(kind)
    given = _read(body)
    for name, index in STEP.findall(path):
        shape = _inner(shape, name)
        try:
            given = given[name or int(index)]
        except (LookupError, TypeError):
            given = UNREAD
    field = FIELD.fullmatch(message)
    if field is not None and isinstance(shape, inspect.StructType):
        name = field[2][:60]
        if field[1] == "missing required":
            detail = f"expected the field {name} ({_words(_inner(shape, name)) or 'any'}), got none"
        else:
            detail = f"expected one of the fields {', '.join(each.encode_name for each in shape.fields)}, got {name!r}"
        return InvalidFieldError(detail, path=f"{path}.{name}")
    wanted = _words(shape)
    if wanted is not None and SIZE.fullmatch(message):
        message = f"expected {wanted}, got {_size(given)}"
    elif wanted is not None and KIND.fullmatch(message):
        message = f"expected {wanted}, got {shown(given)}"
    return InvalidFieldError(message, path=path)


def shown(value: object) -> str:
    """A JSON value of a kind that was not expected, short enough for a message."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int() | float():
            return f"the number {str(value)[:60]}"
        case str():
            return repr(value[:60])
        case list():
            return "a list"
        case dict():
            return "an object"
    return "something else"


def _size(value: object) -> str:
    """How large a value of the right kind is."""
    match value:
        case str():
            return f"{len(value)} characters"
        case list():
            return str(len(value))
        case int() | float():
            return str(value)[:60]
    return shown(value)


def _read(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return UNREAD


def _inner(shape: inspect.Type | None, name: str) -> inspect.Type | None:
    """The type of a struct's field, or of a list's items where there is no name."""
    match shape:
        case inspect.StructType(fields=fields):
            return next((each.type for each in fields if each.encode_name == name), None)
        case inspect.ListType(item_type=item):
            return item
    return None


def _words(shape: inspect.Type | None) -> str | None:
    """What a type takes; its description, where it has one, says it better."""
    match shape:
        case inspect.Metadata(type=inner, extra_json_schema=extra):
            return (extra or {}).get("description") or _words(inner)
        case inspect.UnionType(types=types):
            words = [_words(each) for each in types]
            return " or ".join(filter(None, words)) if all(words) else None
        case inspect.LiteralType(values=values):
            return f"one of {', '.join(map(str, values))}"
        case inspect.IntType(ge=low, le=high):
            return f"a whole number{_range(low, high)}"
        case inspect.StrType(min_length=low, max_length=high, pattern=None):
            return f"text{_range(low, high, ' characters')}"
        case inspect.ListType(min_length=low, max_length=high):
            return f"a list{_range(low, high)}"
        case inspect.BoolType():
            return "true or false"
        case inspect.NoneType():
            return "null"
        case inspect.StructType():
            return "an object"
    return None


def _range(low: int | None, high: int | None, unit: str = "") -> str:
    if low is None and high is None:
        return ""
    if low is None:
        return f" of at most {high}{unit}"
    return f" of at least {low}{unit}" if high is None else f" of {low} to {high}{unit}"
