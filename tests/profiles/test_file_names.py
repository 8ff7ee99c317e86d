"""Names of files that begin with the name of a model."""

from __future__ import annotations

import pytest

from midcut.profiles.file_names import file_name


@pytest.mark.parametrize("name", ["mnist", "efficientnet_lite0", "my_net.Net", "a-b+c", "a" * 100])
def test_a_plain_name_stays(name):
    assert file_name(name) == name


def test_other_names_become_plain_ones_that_differ():
    names = [
        "",
        "--",
        ".",
        "..",
        "../up",
        "..-up",
        "org/net",
        "org.net",
        "org:net",
        "ü",
        "ö",
        "x\0y",
        "\ud800",
        "a\n",
        "a",
    ]
    names += ["a" * 101, "a" * 102]
    files = [file_name(name) for name in names]
    assert len(set(files)) == len(names)
    assert all(file == file_name(file) for file in files)
