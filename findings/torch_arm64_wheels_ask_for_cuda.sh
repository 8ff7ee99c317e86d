#!/usr/bin/env bash
# From torch 2.11 on, the wheel that PyPI has for 64-bit ARM Linux requires NVIDIA's CUDA packages on every such machine.
#
# Guessed: a Raspberry Pi gets a CPU build, as it did up to 2.10, where each of those requirements had the marker
# platform_machine == "x86_64". Seen (pip 23.2.1, the wheels' own metadata): 2.10.0 lists them for x86_64 only, 2.11.0 for
# all of Linux, so that `pip install torch` on a Pi fetches gigabytes that it cannot use.
# Output seen:
#   2.10.0 torch-2.10.0-cp311-cp311-manylinux_2_28_aarch64.whl: CUDA packages for ARM: none
#   2.11.0 torch-2.11.0-cp311-cp311-manylinux_2_28_aarch64.whl: CUDA packages for ARM: cuda-toolkit cuda-bindings nvidia-cudnn-cu13 ...
# Only metadata is read, nothing is installed. Exits with 1 if this has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
for version in 2.10.0 2.11.0; do
  "$folder/venv/bin/pip" install --quiet --dry-run --no-deps --ignore-installed --only-binary=:all: --target "$folder/none" \
    --platform manylinux_2_28_aarch64 --python-version 3.11 --report "$folder/$version.json" "torch==$version" 2> /dev/null
done
"$folder/venv/bin/python" - "$folder" << 'PYTHON'
import json
import re
import sys

found = {}
for version in ("2.10.0", "2.11.0"):
    with open(f"{sys.argv[1]}/{version}.json", encoding="utf-8") as file:
        (torch,) = json.load(file)["install"]
    asked = [text for text in torch["metadata"]["requires_dist"] if re.match("nvidia|cuda", text)]
    found[version] = [re.match(r"[\w-]+", text)[0] for text in asked if "x86_64" not in text and "extra ==" not in text]
    wheel = torch["download_info"]["url"].rpartition("/")[2]
    names = " ".join(found[version][:3]) + " ..." if found[version] else "none"
    print(f"{version} {wheel}: CUDA packages for ARM: {names}")
sys.exit(bool(found["2.10.0"]) or not found["2.11.0"])
PYTHON
