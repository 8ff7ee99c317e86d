from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from midcut_models.mnist import digit_network


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"epoch": 3, "state_dict": state}])
def test_a_state_dict_becomes_the_same_tensors(midcut, tmp_path, wrap):
    state = digit_network().state_dict()
    torch.save(wrap(state), tmp_path / "net.pth")
    status, out, err = midcut("convert", "net.pth")
    assert (status, err) == (0, "")
    assert out == "net.safetensors: 8 tensors, 21840 numbers; use it as weights=net.safetensors\n"
    converted = load_file(tmp_path / "net.safetensors")
    assert converted.keys() == state.keys()
    assert all(torch.equal(converted[name], value) for name, value in state.items())


def test_what_is_not_a_state_dict_is_refused_in_one_line(midcut, tmp_path):
    torch.save(digit_network(), tmp_path / "whole.pth")
    torch.save([torch.ones(2)], tmp_path / "list.pth")
    (tmp_path / "text.pth").write_text("weights")
    for name, why in {
        "whole.pth": "whole.pth holds more than tensors, such as torch.nn.modules.container.Sequential; where you",
        "list.pth": "list.pth holds a list, not a state dict of names and tensors",
        "text.pth": "text.pth ",
        "nowhere.pth": "nowhere.pth: No such file or directory",
    }.items():
        status, out, err = midcut("convert", name)
        assert (status, out) == (1, "")
        assert err.startswith(f"midcut convert: {why}")
        assert len(err.splitlines()) == 1
        assert not (tmp_path / name).with_suffix(".safetensors").exists()


@pytest.mark.parametrize("target", ["nowhere/net.safetensors", "."])
def test_a_file_that_cannot_be_written_is_one_line(midcut, tmp_path, target):
    torch.save(digit_network().state_dict(), tmp_path / "net.pth")
    status, out, err = midcut("convert", "net.pth", target)
    assert (status, out) == (1, "")
    assert err.startswith(f"midcut convert: {target} cannot be written: ")
    assert len(err.splitlines()) == 1


def test_a_pickle_as_weights_says_how_to_convert_it(midcut, tmp_path):
    torch.save(digit_network().state_dict(), tmp_path / "net.pth")
    status, _, err = midcut("profile", "model=mnist", "model.mnist.weights=net.pth")
    assert status == 1
    assert err.splitlines()[-1].endswith("convert it once, to safetensors, by `midcut convert net.pth net.safetensors`")
