"""Count: what a piece of work makes the interpreter do. Numbers that are the same on every machine and in every run.

The tests' own functions are not counted, so that a test may wait in a loop for what it measures.
"""

import gc
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

# Of what a failing test counted, the dearest are printed.
LINES = 25
TESTS = str(Path(__file__).parent)
SERVICE = str(Path(__file__).parents[2] / "service")


class Calls:
    """Functions written in Python that were entered (or resumed), and functions written in C that were called.

    C functions that are reached by an operator, or by calling a class, are not seen; `Opcodes` sees those lines.
    """

    def __init__(self) -> None:
        # By module and name.
        self.entered: Counter[str] = Counter()
        # By name alone, and for methods by the class they are called on: `TCPTransport.write`.
        self.c: Counter[str] = Counter()

    def __sub__(self, other: "Calls") -> "Calls":
        """What is more here, by name; negative where it is less."""
        more = Calls()
        more.entered.update(self.entered)
        more.entered.subtract(other.entered)
        more.c.update(self.c)
        more.c.subtract(other.c)
        return more

    def named(self, end: str) -> int:
        """How often functions of that name were called, in Python or in C."""
        return sum(
            count
            for counter in (self.entered, self.c)
            for name, count in counter.items()
            if name == end or name.endswith(f".{end}")
        )

    def _profile(self, frame: FrameType, event: str, arg: Any) -> None:
        if frame.f_code.co_filename.startswith(TESTS):
            return
        if event == "call":
            self.entered[f"{frame.f_globals.get('__name__')}.{frame.f_code.co_qualname}"] += 1
        elif event == "c_call":
            self.c[_name(arg)] += 1

    @contextmanager
    def counting(self) -> Iterator["Calls"]:
        """Count what this thread does."""
        before = sys.getprofile()
        # Callbacks of a collection are not the work's.
        with _no_collection():
            sys.setprofile(self._profile)
            try:
                yield self
            finally:
                sys.setprofile(before)


class Opcodes:
    """Bytecode instructions of the service's own functions: what stands for time. Each Python version has its own."""

    def __init__(self) -> None:
        self.count = 0

    @contextmanager
    def counting(self) -> Iterator["Opcodes"]:
        """Count what this thread does."""
        with _no_collection(), self._monitored() if sys.version_info >= (3, 12) else self._traced():
            yield self

    @contextmanager
    def _traced(self) -> Iterator[None]:
        before = sys.gettrace()
        sys.settrace(self._trace)
        try:
            yield
        finally:
            sys.settrace(before)

    def _trace(self, frame: FrameType, event: str, arg: Any) -> Any:
        if not frame.f_code.co_filename.startswith(SERVICE):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._local

    def _local(self, frame: FrameType, event: str, arg: Any) -> Any:
        self.count += event == "opcode"
        return self._local

    @contextmanager
    def _monitored(self) -> Iterator[None]:
        """From 3.12 on: `settrace` of 3.13 misses the instructions of coroutines that were begun before."""
        monitoring = sys.monitoring  # type: ignore[attr-defined, unused-ignore]
        monitoring.use_tool_id(monitoring.PROFILER_ID, "tests.cost")
        monitoring.register_callback(monitoring.PROFILER_ID, monitoring.events.INSTRUCTION, self._instruction)
        monitoring.set_events(monitoring.PROFILER_ID, monitoring.events.INSTRUCTION)
        try:
            yield
        finally:
            monitoring.set_events(monitoring.PROFILER_ID, 0)
            monitoring.register_callback(monitoring.PROFILER_ID, monitoring.events.INSTRUCTION, None)
            monitoring.free_tool_id(monitoring.PROFILER_ID)

    def _instruction(self, code: CodeType, offset: int) -> Any:
        if not code.co_filename.startswith(SERVICE):
            return sys.monitoring.DISABLE  # type: ignore[attr-defined, unused-ignore]
        self.count += 1
        return None


@contextmanager
def _no_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _name(function: Any) -> str:
    of = getattr(function, "__self__", None)
    if of is None or isinstance(of, type(sys)):
        return f"{function.__module__}.{function.__name__}"
    kind = of if isinstance(of, type) else type(of)
    return f"{kind.__name__}.{function.__name__}"


def apiece(calls: Calls, instructions: int, share: int) -> dict[str, float]:
    """What every piece of work is measured in, for each of `share`."""
    return {
        "functions entered": calls.entered.total() / share,
        "C functions called": calls.c.total() / share,
        "instructions": instructions / share,
    }


def by_name(calls: Calls, share: int) -> str:
    """What the calls were, for whoever looks for one too many; `share` is by how many to divide."""
    return dearest(dict([*calls.entered.items(), *calls.c.items()]), share)


def dearest(counts: Mapping[str, int], share: int = 1) -> str:
    """The dearest of them, and how many more there are."""
    found = sorted(((name, count) for name, count in counts.items() if count), key=lambda each: -abs(each[1]))
    lines = [f"{count / share:10.2f}  {name}" for name, count in found[:LINES]]
    return "\n".join(lines + [f"{'…':>10}  and {len(found) - LINES} more"] * (len(found) > LINES))
