"""The colours of the page and of its plots, for light and dark."""

from __future__ import annotations

PALETTE = {
    "page": ("#f7f7f4", "#14161a"),
    "surface": ("#ffffff", "#1c1f25"),
    "band": ("#f1f1ec", "#23272f"),
    "line": ("#dfdfd8", "#343944"),
    "ink": ("#1b1d21", "#eceef2"),
    "soft": ("#5d636e", "#a3abb8"),
    "accent": ("#2456d6", "#8fb0ff"),
    "accent-soft": ("#e4ebfc", "#243152"),
    "other": ("#848c99", "#7f8896"),
    "floor": ("#c2410c", "#fb923c"),
    "warn-soft": ("#fdf1e3", "#3a2a1a"),
    "bad": ("#b42318", "#ff8a80"),
}
"""name -> (light, dark). The figures are made in the light colours; the page's script swaps them,
so every light value must be distinct."""


def light(name: str) -> str:
    """The colour that figures are drawn in."""
    return PALETTE[name][0]
