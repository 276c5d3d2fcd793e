"""Charts: lines as inline SVG, the lengths of bars, and the shades of heat maps.

The drawing is scaled with the page; text in it would be distorted, so labels stand beside it. Charts have no style
attributes, which the Content-Security-Policy forbids. Screen readers get the table behind the chart instead.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

WIDTH: Final = 1000
HEIGHT: Final = 240

_RATES: Final = (0.03, 0.06, 0.15, 0.3, 0.6, 0.9, 1.0)
_UNITS: Final = (3, 6, 9, 12)
_STEPS: Final = (1.2, 1.5, 1.8, 2.4, 3, 4.5, 6, 7.5, 9, 12)
"""Times a power of ten: the ends of axes, whose thirds are round numbers, too."""

Value = float | int | None


@dataclasses.dataclass(frozen=True, slots=True)
class LineChart:
    """A drawing, and the numbers beside its four grid lines, from top to bottom."""

    svg: Markup
    ticks: tuple[float, ...]


def line_chart(
    values: Sequence[Value], before: Sequence[Value] = (), unfinished: Sequence[bool] = (), *, rates: bool = False
) -> LineChart:
    """Draw *values* as a line, and *before* as a second one behind it.

    The line to a value that is *unfinished* is dotted. None leaves a gap. *rates* are fractions of one.
    """
    highest = max((value for value in (*values, *before) if value is not None), default=0)
    top = next(each for each in _RATES if highest <= each) if rates else nice_ceiling(highest)
    low = min((value for value in (*values, *before) if value is not None), default=0)
    bottom = -nice_ceiling(-low) if low < 0 else 0.0
    # The period before may be longer: a month of 30 days may follow one of 31.
    count, before = len(values), before[: len(values)]
    now = _points(values, count, bottom, top)
    then = _points(before, count, bottom, top)
    first_open = next((at for at, each in enumerate(unfinished) if each), len(values))
    solid = [point for point in now[:first_open] if point is not None]
    dotted = [point for point in now[max(0, first_open - 1) :] if point is not None]
    parts = [_grid()]
    if solid:
        base = _y(max(0.0, bottom), bottom, top)
        area = f"{solid[0][0]:.1f},{base:.1f} {_path(solid)} {solid[-1][0]:.1f},{base:.1f}"
        parts.append(f'<polygon class="area" points="{area}"/>')
    if any(point is not None for point in then):
        parts.append(f'<polyline class="before" points="{_path([point for point in then if point is not None])}"/>')
    if solid:
        parts.append(f'<polyline class="line" points="{_path(solid)}"/>')
    if len(dotted) > 1:
        parts.append(f'<polyline class="line dotted" points="{_path(dotted)}"/>')
    svg = (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" aria-hidden="true" focusable="false">'
        f"{''.join(parts)}</svg>"
    )
    step = (top - bottom) / 3
    # Safe: the markup holds only numbers that were formatted here.
    return LineChart(Markup(svg), tuple(bottom + step * each for each in (3, 2, 1, 0)))  # noqa: S704


def nice_ceiling(value: float) -> float:
    """Return a number of at least *value* that divides well by three."""
    if value <= 3:
        return 3.0
    magnitude = 10.0 ** math.floor(math.log10(value))
    steps = _UNITS if magnitude == 1 else _STEPS
    return next(each * magnitude for each in steps if value <= each * magnitude)


def share(value: Value, of: Value) -> int:
    """Return *value* as percent of *of*, from 0 to 100: the length of a bar."""
    if not value or not of or value < 0:
        return 0
    return max(1, min(100, round(100 * value / of)))


def shade(rate: float | None) -> int:
    """Return the shade of *rate* in a heat map, from 1 to 10; 0 for none."""
    return 0 if not rate or rate < 0 else max(1, min(10, math.ceil(rate * 10)))


def _points(values: Sequence[Value], count: int, bottom: float, top: float) -> list[tuple[float, float] | None]:
    step = WIDTH / max(1, count - 1)
    left = WIDTH / 2 if count == 1 else 0.0
    return [None if value is None else (left + at * step, _y(value, bottom, top)) for at, value in enumerate(values)]


def _y(value: float, bottom: float, top: float) -> float:
    return HEIGHT - (value - bottom) / (top - bottom) * HEIGHT


def _path(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _grid() -> str:
    heights = [f"{HEIGHT * each / 3:.0f}" for each in range(4)]
    return "".join(f'<line class="grid" x1="0" x2="{WIDTH}" y1="{y}" y2="{y}"/>' for y in heights)
