"""The sample of a very large split: a pure function of labels, row groups, size and seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_sfda.dataset.sample import FEWEST, allocate, choose_groups, draw_by_class, draw_by_tags


@st.composite
def splits(draw):
    """Labels, some of them missing, and sizes of row groups that add up."""
    sizes = np.array(draw(st.lists(st.integers(1, 9), min_size=1, max_size=30)))
    n_classes = draw(st.integers(1, 5))
    n = int(sizes.sum())
    codes = np.array(draw(st.lists(st.integers(-1, n_classes - 1), min_size=n, max_size=n)))
    if draw(st.booleans()):
        codes = np.sort(codes)
    rare = np.flatnonzero(np.bincount(codes[codes >= 0], minlength=n_classes) < FEWEST)
    codes[np.isin(codes, rare)] = -1
    names, codes[codes >= 0] = np.unique(codes[codes >= 0], return_inverse=True)
    samples = draw(st.integers(max(1, FEWEST * len(names)), n + 3))
    return codes, sizes, samples, draw(st.integers(0, 5))


def _groups(rows, sizes):
    return set(np.repeat(np.arange(len(sizes)), sizes)[rows].tolist())


@given(splits())
def test_each_class_has_the_share_of_a_sample_of_all_rows(split):
    codes, sizes, samples, seed = split
    usable = np.flatnonzero(codes >= 0)
    if not len(usable):
        return
    rows = draw_by_class(codes[usable], usable, sizes, samples, seed)
    counts = np.bincount(codes[usable])
    assert np.array_equal(np.bincount(codes[rows]), allocate(counts, samples))
    assert len(rows) == min(samples, len(usable)) == len(set(rows))
    assert np.all(np.diff(rows) > 0)
    assert np.all(codes[rows] >= 0)
    assert len(_groups(rows, sizes)) <= min(samples, len(sizes))
    assert np.array_equal(rows, draw_by_class(codes[usable], usable, sizes, samples, seed))


@given(splits())
def test_the_chosen_groups_hold_what_is_wanted_and_each_is_needed(split):
    codes, sizes, samples, seed = split
    usable = np.flatnonzero(codes >= 0)
    if not len(usable):
        return
    groups = np.repeat(np.arange(len(sizes)), sizes)[usable]
    quotas = allocate(np.bincount(codes[usable]), samples)
    pairs, counts = np.unique(groups * len(quotas) + codes[usable], return_counts=True)
    group, kind = np.divmod(pairs, len(quotas))
    chosen = choose_groups(group, kind, counts, sizes, quotas, seed)
    held = np.bincount(kind, np.where(np.isin(group, chosen), counts, 0), minlength=len(quotas))
    assert np.all(held >= quotas)
    assert len(chosen) <= quotas.sum()
    assert _groups(draw_by_class(codes[usable], usable, sizes, samples, seed), sizes) <= set(
        chosen.tolist()
    )


@given(
    st.lists(st.integers(1, 9), min_size=6, max_size=20),
    st.integers(0, 9),
    st.integers(2, 4),
    st.integers(0, 30),
)
def test_rows_with_several_labels_keep_each_label(sizes, seed, n_tags, more):
    sizes = np.array(sizes)
    n = int(sizes.sum())
    tags = (np.random.default_rng(seed).random((n, n_tags)) < 0.3).astype(np.int64)
    samples = 2 * FEWEST * n_tags + more
    rows = draw_by_tags(tags, np.arange(n), sizes, samples, seed)
    assert len(rows) == min(samples, n) == len(set(rows))
    having = tags.sum(0)
    assert np.all(tags[rows].sum(0) >= np.minimum(FEWEST, having))
    assert np.all((1 - tags[rows]).sum(0) >= np.minimum(FEWEST, n - having))
    assert np.array_equal(rows, draw_by_tags(tags, np.arange(n), sizes, samples, seed))


@pytest.mark.parametrize("n_classes", [2, 10, 100, 1000])
def test_mixed_classes_need_less_than_twice_the_rows_of_the_sample(n_classes):
    codes = np.random.default_rng(0).integers(0, n_classes, 1_000_000)
    sizes = np.full(10_000, 100)
    rows = draw_by_class(codes, np.arange(len(codes)), sizes, 2000, 0)
    assert len(rows) == 2000
    assert len(_groups(rows, sizes)) * 100 < 2 * 2000


def test_a_split_that_is_sorted_by_class_needs_groups_of_each_class():
    codes = np.repeat(np.arange(100), 1000)
    sizes = np.full(1000, 100)
    rows = draw_by_class(codes, np.arange(len(codes)), sizes, 2000, 0)
    assert np.array_equal(np.bincount(codes[rows]), np.full(100, 20))
    assert len(_groups(rows, sizes)) == 100


def test_another_seed_draws_other_groups():
    codes = np.random.default_rng(0).integers(0, 3, 10_000)
    first, second = (
        draw_by_class(codes, np.arange(len(codes)), np.full(100, 100), 300, seed) for seed in (0, 1)
    )
    assert not set(first) & set(second) or set(first) != set(second)
