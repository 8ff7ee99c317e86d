from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midcut.config.settings import CutSettings
from midcut.errors import ConfigError
from midcut.planning.cuts import legal_cuts
from midcut.types import Cut, CutTable, Node, ValueSpec

ENDS, INSIDE = True, False
IMAGE = ValueSpec("x", "float32", (1, 3, 4, 4))
PAIR = (IMAGE, ValueSpec("size", "int"))
# Three leaf modules, a stretch where two values cross, one cut refused.
TABLE = CutTable(
    model="toy",
    capture="fx",
    nodes=(
        Node("stem_conv", "Conv2d", "stem.conv"),
        Node("add", "add"),
        Node("stem_relu", "ReLU", "stem.relu"),
        Node("head_pool", "MaxPool2d", "head.pool"),
        Node("flatten", "flatten"),
        Node("softmax", "softmax"),
    ),
    cuts=(
        Cut(0, 0, INSIDE, (IMAGE,)),
        Cut(1, 1, ENDS, PAIR),
        Cut(2, 1, INSIDE, PAIR),
        Cut(3, 2, ENDS, (IMAGE,)),
        Cut(4, 3, ENDS, (IMAGE,)),
        Cut(5, 3, INSIDE, (IMAGE,), "'x' is a tuple"),
        Cut(6, 3, INSIDE, (IMAGE,)),
    ),
    graph="0" * 16,
    weights="0" * 16,
)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, (0, 1, 2, 3, 4, 6)),
        ({"single_tensor": True}, (0, 3, 4, 6)),
        ({"modules": True}, (0, 1, 3, 6)),
        ({"modules": True, "single_tensor": True}, (0, 3, 6)),
        ({"first_cut": 1}, (1, 2, 3, 4, 6)),
        ({"last_cut": -2}, (0, 1, 2, 3, 4)),
        ({"first_cut": -4, "last_cut": 4}, (3, 4)),
        ({"first_cut": 0, "last_cut": 0}, (0,)),
        ({"keep_on_edge": ["stem"]}, (3, 4, 6)),
        ({"keep_on_edge": ["stem.conv"]}, (1, 2, 3, 4, 6)),
        ({"keep_on_edge": ["add", "stem_conv"]}, (2, 3, 4, 6)),
        ({"keep_in_cloud": ["head"]}, (0, 1, 2, 3)),
        ({"keep_in_cloud": ["softmax"]}, (0, 1, 2, 3, 4)),
        ({"keep_on_edge": ["stem"], "keep_in_cloud": ["head"]}, (3,)),
    ],
)
def test_each_setting_narrows_the_list(settings, expected):
    assert legal_cuts(TABLE, CutSettings(**settings)) == expected


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"first_cut": 7}, r"cuts.first_cut=7: model 'toy' has cuts 0 to 6 \(or -1 to -7\)"),
        ({"last_cut": -8}, "cuts.last_cut=-8"),
        ({"first_cut": 4, "last_cut": 3}, "the first allowed cut is 4, the last allowed cut is 3"),
        ({"first_cut": 5, "last_cut": 5}, "cut 5 is not offered because 'x' is a tuple"),
        ({"first_cut": 1, "last_cut": 2, "single_tensor": True}, "no cut from 1 to 2 is crossed by a single tensor"),
        ({"first_cut": 2, "last_cut": 2, "modules": True}, "no leaf module ends between 2 and 2"),
        (
            {"keep_on_edge": ["head"], "keep_in_cloud": ["stem"]},
            "the first allowed cut is 4, the last allowed cut is 0",
        ),
        (
            {"keep_on_edge": ["stem.cnv"]},
            "cuts.keep_on_edge: model 'toy' has no node or module 'stem.cnv'; similar names: stem.conv",
        ),
        ({"keep_in_cloud": ["zzz"]}, "the first node is 'stem_conv'"),
        ({"keep_in_cloud": ["ste"]}, "has no node or module 'ste'"),
    ],
)
def test_an_impossible_setting_is_refused_in_one_line(settings, words):
    with pytest.raises(ConfigError, match=words) as caught:
        legal_cuts(TABLE, CutSettings(**settings))
    assert "\n" not in str(caught.value)


@given(
    st.builds(
        CutSettings,
        single_tensor=st.booleans(),
        modules=st.booleans(),
        first_cut=st.none() | st.integers(-9, 9),
        last_cut=st.none() | st.integers(-9, 9),
        keep_on_edge=st.lists(st.sampled_from(["stem", "add", "head.pool"]), max_size=2),
        keep_in_cloud=st.lists(st.sampled_from(["softmax", "head", "add"]), max_size=2),
    )
)
def test_any_config_gives_ascending_offered_cuts_or_a_config_error(settings):
    try:
        legal = legal_cuts(TABLE, settings)
    except ConfigError:
        return
    assert list(legal) == sorted(set(legal))
    assert set(legal) <= {0, 1, 2, 3, 4, 6}
