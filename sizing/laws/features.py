"""Request → numeric and categorical features that cost laws and kernels can use.

In: reading hyper-parameters of any type, and the shape of the data. Never fails: a value that
can't be interpreted counts as absent. Not in: what the numbers cost
(:mod:`fitcast.sizing.laws.prior`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

from fitcast.history.parts import EstimatorPart
from fitcast.history.records import Request
from fitcast.sizing.laws.families import COSTLESS_PARAMS, Family, family_of
from fitcast.sizing.laws.inside import last_of, wrapped

VERSION = "~version"
"""Name under which the library's version stands among the hyper-parameters."""

_COUNTLESS = 250.0  # distinct values per column; more are taken to be as many as rows
_TINY = 1e-6  # below it a hyper-parameter counts as zero
_HUGE = 1e15
_LONGEST_INT = 18  # digits


@dataclass(frozen=True, slots=True, eq=False)
class Params:
    """Hyper-parameters that may change the cost, read once for all folds."""

    numbers: Mapping[str, float]
    words: Mapping[str, str]
    key: int  # equal for equal cost-changing hyper-parameters

    def number(self, *names: str, default: float) -> float:
        """Return the first of the named numbers that is set."""
        for name in names:
            value = self.numbers.get(name)
            if value is not None:
                return value
        return default

    def word(self, name: str, default: str = "") -> str:
        """Return a named word, as "sqrt" or "True"."""
        return self.words.get(name, default)


@dataclass(frozen=True, slots=True, eq=False)
class Described:
    """The features of a request that cost laws use."""

    algorithm: str
    kind: str  # what learns together: the algorithm, and its family where a solver decides
    family: Family
    params: Params
    steps: tuple[str, ...]
    rows_train: float  # at least 1
    rows_test: float
    columns: float  # at least 1
    nonzeros: float
    data_bytes: float
    classes: float  # 0 unless the target is classes
    distinct: float  # values of a mean column; infinite if beyond counting or unknown
    missing: float  # share of all values
    scale: float  # decades: how large the largest column's values are
    condition: float  # decades: how ill-conditioned the columns are
    correlation: float  # decades: the same once they are standardised
    threads: int
    key: int  # equal for requests that cost the same but for chance: the folds of a candidate
    targets: float = 1.0  # columns of the target
    made_of: EstimatorPart | None = None  # the estimator with those inside, if it isn't one alone


def describe(request: Request) -> Described:
    """Read a request."""
    params = read_params(
        request.algorithm, request.steps, request.params, version=request.library_version
    )
    rows = _size(request.rows_train, 1.0)
    columns = _size(request.columns, 1.0)
    nonzeros = _size(request.nonzeros, 1.0)
    classes = _size(request.classes, 0.0) if request.target in ("binary", "multiclass") else 0.0
    threads = max(1, min(int(_size(request.threads, 1.0)), 4096))
    rows_test = _size(request.rows_test, 0.0)
    counted = _size(request.distinct_values, 0.0) / columns
    distinct = max(1.0, counted) if 0.0 < counted < _COUNTLESS else math.inf
    missing = min(_size(request.missing_share, 0.0), 1.0)
    scale = min(max(_finite(request.scale_decades) or 0.0, -12.0), 12.0)
    condition = min(_size(request.condition_decades, 0.0), 12.0)
    correlation = min(_size(request.correlation_decades, 0.0), 12.0)
    # Folds differ by a row or so; sizes within about 1 % count as the same.
    shape = tuple(
        round(100 * math.log1p(size))
        for size in (
            *(rows, rows_test, columns, nonzeros, classes),
            *(min(distinct, 1e6), missing, condition, correlation, scale + 12.0),
        )
    )
    made_of = request.made_of
    targets = _size(request.targets, 1.0)
    if made_of is not None:
        params = _counted(params, last_of(made_of))
    family = _family(request.algorithm, request.bases, params)
    return Described(
        algorithm=request.algorithm,
        kind=f"{request.algorithm} {family.name}{wrapped(made_of)}",
        family=family,
        params=params,
        steps=request.steps,
        rows_train=rows,
        rows_test=rows_test,
        columns=columns,
        nonzeros=nonzeros,
        data_bytes=_size(request.data_bytes, 0.0),
        classes=classes,
        distinct=distinct,
        missing=missing,
        scale=scale,
        condition=condition,
        correlation=correlation,
        threads=threads,
        key=hash((params.key, shape, threads, made_of, round(targets))),
        targets=targets,
        made_of=made_of,
    )


@lru_cache(maxsize=4096)
def params_of_part(part: EstimatorPart) -> Params:
    """Read the hyper-parameters of a part, what they hold counted."""
    params = read_params(part.algorithm, (), dict(part.params))
    return _counted(params, part)


@lru_cache(maxsize=4096)
def family_of_part(part: EstimatorPart) -> Family:
    """Return the family of a part."""
    return _family(part.algorithm, part.bases, params_of_part(part))


def _family(algorithm: str, bases: tuple[str, ...], params: Params) -> Family:
    return family_of(
        algorithm,
        params.word("solver"),
        bases=bases,
        names=frozenset(params.numbers) | frozenset(params.words),
    )


@lru_cache(maxsize=4096)
def _counted(params: Params, part: EstimatorPart) -> Params:
    """Return hyper-parameters with how many values those hold that aren't plain."""
    counts = {name: float(n) for name, n in part.counts if n > 0 and name not in COSTLESS_PARAMS}
    if not counts:
        return params
    key = code_of(repr((params.key, sorted(counts.items()))))
    return Params(numbers=counts | dict(params.numbers), words=params.words, key=key)


def read_params(
    algorithm: str, steps: tuple[str, ...], params: Mapping[str, object], *, version: str = ""
) -> Params:
    """Split hyper-parameters into numeric and categorical; a pipeline's last step's without prefix.

    Parameters
    ----------
    algorithm
        Import path of the estimator's class.
    steps
        Import paths of the pipeline's steps; empty without a pipeline.
    params
        Hyper-parameters by name, those of steps as ``step__name``.
    version
        Of the library, used as one more category; "" if unknown.
    """
    try:
        return _read_params(algorithm, steps, tuple(params.items()), version)
    except TypeError:  # a value that can't be hashed
        return _read_params(
            algorithm, steps, tuple((name, repr(value)) for name, value in params.items()), version
        )


@lru_cache(maxsize=32768)
def _read_params(
    algorithm: str, steps: tuple[str, ...], items: tuple[tuple[str, object], ...], version: str
) -> Params:
    numbers: dict[str, float] = {}
    words: dict[str, str] = {}
    prefix = _last_step_prefix(algorithm, items) if steps else ""
    for name, value in items:
        own = name[len(prefix) :] if prefix and name.startswith(prefix) else name
        if own.rpartition("__")[2] in COSTLESS_PARAMS:
            continue
        if isinstance(value, bool) or value is None:
            words[own] = str(value)
        elif isinstance(value, int | float):
            # Not clipped to the float's range: a big int overflows, inf and nan make no sense.
            number = _finite(value)
            if number is None:
                words[own] = "no number"
            else:
                numbers[own] = number
        elif isinstance(value, str) and len(value) > _LONGEST_INT and value.isdecimal():
            numbers[own] = _HUGE  # a whole number that no store keeps as one
        else:
            words[own] = str(value)
    if steps:
        words["~steps"] = ">".join(step.rpartition(".")[2] for step in steps)
    if version:
        words[VERSION] = version
    content = repr((algorithm, sorted(numbers.items()), sorted(words.items())))
    return Params(numbers=numbers, words=words, key=code_of(content))


def scaled(value: float) -> float:
    """Scale a number to decades, symmetrically: zero and negatives included.

    Zero is 0, a millionth about 0.2, one 6, minus one -6.
    """
    return math.copysign(math.log10(1.0 + min(abs(value), _HUGE) / _TINY), value)


def code_of(text: str) -> int:
    """Return a number for a text, the same in every process."""
    return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=7).digest(), "big")


def _last_step_prefix(algorithm: str, items: tuple[tuple[str, object], ...]) -> str:
    # The flattened parameters name each step with its class: {"scale": "StandardScaler", …}.
    short = algorithm.rpartition(".")[2]
    named = [name for name, value in items if value == short and "__" not in name]
    return f"{named[-1]}__" if named else ""


def _finite(value: float) -> float | None:
    try:
        number = float(value)
    except (OverflowError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _size(value: float, least: float) -> float:
    number = _finite(value)
    return least if number is None else min(max(number, least), 1e13)
