# Sourced by the other scripts: makes .venv with the extras asked for, once, and installs Debian packages when root.
# Usage: . scripts/env.sh; need_venv dev; need_packages mosquitto
set -euo pipefail
export CALLER=$PWD # what a person types is relative to where that person is
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '\033[2m%s\033[0m\n' "$*" >&2; }

as_root() { # run as root where that needs no password, else fail
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@" 2>/dev/null; fi
}

need_packages() { # need_packages PROGRAM:PACKAGE ...
  local missing=()
  for pair in "$@"; do command -v "${pair%%:*}" >/dev/null || [ -x "/usr/sbin/${pair%%:*}" ] || missing+=("${pair##*:}"); done
  [ ${#missing[@]} = 0 ] && return
  say "installing ${missing[*]} (Debian packages) ..."
  as_root env DEBIAN_FRONTEND=noninteractive sh -c "apt-get update -qq && apt-get install -y -qq ${missing[*]}" >/dev/null ||
    { echo "please install these first: sudo apt-get install ${missing[*]}" >&2; exit 2; }
}

find_python() { # the first Python that is new enough and works (pyenv's shims exist without working)
  for candidate in "${PYTHON:-python3}" python3.13 python3.12 python3.11 python3.10; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  echo "Python 3.10 to 3.13 is needed; set PYTHON to one" >&2
  exit 2
}

need_venv() { # need_venv EXTRA
  local python place stamp minor
  python=$(find_python)
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then need_packages no-such-program:python3-venv; fi
  # Programs in it name the folder and the Python that they were installed with.
  place="$("$python" --version) $PWD"
  if [ "$(cat .venv/place 2>/dev/null)" != "$place" ]; then
    "$python" -m venv --clear .venv
    echo "$place" >.venv/place
  fi
  stamp=$(sha256sum pyproject.toml | cut -c1-16)
  # dev holds all that demo does.
  if [ ! -e ".venv/$1-$stamp" ] && [ ! -e ".venv/dev-$stamp" ]; then
    say "making .venv with emotion-edge[$1] (about 2 minutes, once) ..."
    .venv/bin/python -m pip install -qq --disable-pip-version-check --editable ".[$1]"
    # The tests' files of Keras 2. Alone, because it requires `tensorflow`, which would be installed over tensorflow-cpu.
    minor=$(.venv/bin/python -m pip freeze | sed -nE 's/^tensorflow(-cpu|_cpu)?==([0-9]+\.[0-9]+).*/\2/p')
    [ "$1" != dev ] || .venv/bin/python -m pip install -qq --disable-pip-version-check --no-deps "tf-keras==$minor.*" ||
      say "no tf-keras for TensorFlow $minor: tests with files of Keras 2 are skipped"
    touch ".venv/$1-$stamp"
  fi
  export PATH="$PWD/.venv/bin:/usr/sbin:$PATH"
}
