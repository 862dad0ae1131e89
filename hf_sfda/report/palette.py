"""The colours of the page and of its plots, for light and dark mode."""

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
"""name -> (light, dark). Figures are drawn in the light colours. In dark mode the page's script
replaces each light colour by its dark one, so all light colours must be different."""


def light(name: str) -> str:
    """The light colour of a name, for figures."""
    return PALETTE[name][0]
