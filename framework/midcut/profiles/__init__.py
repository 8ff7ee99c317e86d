"""Profiles and fits, both stored as JSON files. Importing this package imports no torch.

A *profile* holds the measured seconds per node of one model on one machine, at one or more clock settings
(`midcut profile`). A *fit* holds the parameters of the paper's clock law for several models (`midcut fit`). A *layer
fit* holds a law of seconds for each kind of node (`midcut fit what=layers`).
"""

from midcut.profiles.clock_law import Fit, Law, ModelLaw, find_fit, read_fit, write_fit, wrong_law
from midcut.profiles.layer_fit import KindLaw, LayerFit, find_layer_fit, read_layer_fit, write_layer_fit
from midcut.profiles.profile import (
    Machine,
    Profile,
    Run,
    decode_profile,
    find_profile,
    find_profiles,
    one_image_at_a_time,
    read_profile,
    write_profile,
)
from midcut.profiles.shipped import SHIPPED
from midcut.profiles.speeds import Speeds, forget_speeds, speed_key, speeds_of
from midcut.terms import LayerFeatures, Normalisation, Role

__all__ = [
    "SHIPPED",
    "Fit",
    "KindLaw",
    "Law",
    "LayerFeatures",
    "LayerFit",
    "Machine",
    "ModelLaw",
    "Normalisation",
    "Profile",
    "Role",
    "Run",
    "Speeds",
    "decode_profile",
    "find_fit",
    "find_layer_fit",
    "find_profile",
    "find_profiles",
    "forget_speeds",
    "one_image_at_a_time",
    "read_fit",
    "read_layer_fit",
    "read_profile",
    "speed_key",
    "speeds_of",
    "write_fit",
    "write_layer_fit",
    "write_profile",
    "wrong_law",
]
