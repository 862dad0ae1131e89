"""Tests of hf-sfda; the layout mirrors the package."""
