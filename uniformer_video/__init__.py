"""UniFormer for video: train, test and fine-tune on PySlowFast conventions."""

from __future__ import annotations

__version__ = "0.1.0"

__all__ = ["Predictor", "__version__"]


def __getattr__(name: str) -> object:
    """Return what the package offers at its top, imported when it is first asked for: torch takes seconds."""
    if name == "Predictor":
        from importlib import import_module

        return import_module(f"{__name__}.engine.predictor").Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
