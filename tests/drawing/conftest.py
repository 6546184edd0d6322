"""What the tests of plots share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from matplotlib.figure import Figure

from uniformer_video.drawing import style


@pytest.fixture
def figure(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Figure]:
    """Catch the figure that is drawn, which is not cleared then, and return a function that gives it."""
    caught = []
    real = style.FigureCanvasAgg

    def canvas(drawn: Figure) -> style.FigureCanvasAgg:
        caught.append(drawn)
        drawn.clear = lambda: None
        return real(drawn)

    monkeypatch.setattr(style, "FigureCanvasAgg", canvas)
    return lambda: caught[-1]
