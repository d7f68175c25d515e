"""Expressions over the columns of a table, as a user's file has them: arithmetic, comparisons, masks and a few
functions, and nothing else of Python. No name, attribute or call but those that are listed can be reached.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...errors import LorascopeError

#: Characters of an expression, more than anybody needs.
LONGEST = 1000


def slope(y: Any, x: Any) -> float:
    """Least-squares slope of y over x."""
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    x = x - x.mean()
    return float(x @ (y - y.mean()) / (x @ x))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "mean": np.mean,
    "sum": np.sum,
    "min": np.min,
    "max": np.max,
    "median": np.median,
    "sd": lambda values: np.std(values, ddof=1),
    "abs": np.abs,
    "log": np.log,
    "log2": np.log2,
    "exp": np.exp,
    "sqrt": np.sqrt,
    "count": np.size,
    "slope": slope,
}
_BINARY = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.Mod: operator.mod,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
}
_COMPARED = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda values, of: np.isin(values, of),
    ast.NotIn: lambda values, of: ~np.isin(values, of),
}


def parsed(text: str, what: str) -> ast.expr:
    """An expression, refused where it holds anything but what this module knows. Raises `LorascopeError`, whose message
    begins with `what` (the file and the key).
    """
    if len(text) > LONGEST:
        raise LorascopeError(f"{what}: longer than {LONGEST} characters; state it in fewer")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise LorascopeError(f"{what}: {text!r} is no expression ({error}); mend it") from error
    for node in ast.walk(tree):
        _refuse(node, what)
    return tree


def _refuse(node: ast.AST, what: str) -> None:
    known = (ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Call, ast.Subscript, ast.Name, ast.Constant)
    allowed = (*known, ast.List, ast.Tuple, ast.Load, ast.operator, ast.unaryop, ast.boolop, ast.cmpop)
    if not isinstance(node, allowed):
        raise LorascopeError(f"{what}: `{ast.unparse(node)}` is not allowed; take it out")
    if isinstance(node, ast.BinOp) and type(node.op) not in _BINARY:
        raise LorascopeError(f"{what}: the operator in `{ast.unparse(node)}` is not allowed; take it out")
    if isinstance(node, ast.Compare) and not all(type(op) in _COMPARED for op in node.ops):
        raise LorascopeError(f"{what}: the comparison `{ast.unparse(node)}` is not allowed; take it out")
    if isinstance(node, ast.Constant) and not isinstance(node.value, (int, float, str)):
        raise LorascopeError(f"{what}: {node.value!r} is neither a number nor a word; take it out")
    if isinstance(node, ast.Call):
        named = node.func.id if isinstance(node.func, ast.Name) else ""
        if named not in FUNCTIONS or node.keywords:
            known = ", ".join(FUNCTIONS)
            raise LorascopeError(f"{what}: no function `{ast.unparse(node.func)}`; there are {known}")


def evaluated(tree: ast.expr, names: Mapping[str, Any], what: str) -> Any:
    """What a parsed expression gives with these columns and numbers. Raises `LorascopeError` naming what is unknown or
    doesn't fit.
    """
    try:
        with np.errstate(all="ignore"):
            return _value(tree, names, what)
    except (TypeError, ValueError, IndexError, ZeroDivisionError, OverflowError, ArithmeticError) as error:
        raise LorascopeError(f"{what}: `{ast.unparse(tree)}`: {error}; mend it") from error


def _value(node: ast.expr, names: Mapping[str, Any], what: str) -> Any:
    def of(part: ast.expr) -> Any:
        return _value(part, names, what)

    match node:
        case ast.Constant(value=value):
            # floats overflow where whole numbers would grow for ever
            return float(value) if isinstance(value, (int, float)) else value
        case ast.Name(id=name):
            if name not in names:
                raise LorascopeError(f"{what}: no column {name!r}; there are {', '.join(names)}")
            return names[name]
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            return np.array([of(part) for part in parts])
        case ast.UnaryOp(op=op, operand=operand):
            value = of(operand)
            if isinstance(op, ast.Not):
                return ~np.asarray(value, dtype=bool)
            return -value if isinstance(op, ast.USub) else +value
        case ast.BinOp(left=left, op=op, right=right):
            return _BINARY[type(op)](of(left), of(right))
        case ast.BoolOp(op=op, values=parts):
            joined = np.logical_and if isinstance(op, ast.And) else np.logical_or
            return joined.reduce(np.broadcast_arrays(*[np.asarray(of(part), dtype=bool) for part in parts]))
        case ast.Compare(left=left, ops=ops, comparators=others):
            values = [of(part) for part in (left, *others)]
            found = [_COMPARED[type(op)](a, b) for op, a, b in zip(ops, values[:-1], values[1:], strict=True)]
            return np.logical_and.reduce(np.broadcast_arrays(*found))
        case ast.Subscript(value=values, slice=chosen):
            return np.asarray(of(values))[_chosen(of(chosen))]
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return FUNCTIONS[name](*[of(argument) for argument in arguments])
    raise LorascopeError(f"{what}: `{ast.unparse(node)}` is not allowed; take it out")


def _chosen(index: Any) -> Any:
    """A mask, or the place of one row."""
    index = np.asarray(index)
    return index if index.dtype == bool else index.astype(int)
