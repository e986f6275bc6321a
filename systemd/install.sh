#!/bin/sh
# Install emotion-edge as a service on this board, or remove it. Run it as often as you like: it changes only what differs.
#
#   sudo systemd/install.sh                     from this checkout
#   sudo systemd/install.sh --from FILE.whl     from a wheel
#   sudo systemd/install.sh --wheels DIR        without a network: every package from DIR
#   sudo systemd/install.sh --uninstall         remove program and unit; configuration and events stay
#   sudo systemd/install.sh --purge             remove everything
#   --dry-run shows each step and takes none; --root DIR works below DIR and leaves users and services alone
set -eu

here=$(cd "$(dirname "$0")" && pwd)
package=$(dirname "$here")
wheels= root= mode=install dry=

fail() { echo "install.sh: $1" >&2; exit 2; }

while [ $# -gt 0 ]; do
  case $1 in
    --from) [ $# -gt 1 ] || fail "--from needs a file"; package=$2; shift ;;
    --wheels) [ $# -gt 1 ] || fail "--wheels needs a folder"; wheels=$2; shift ;;
    --root) [ $# -gt 1 ] || fail "--root needs a folder"; root=${2%/}; shift ;;
    --uninstall) mode=uninstall ;;
    --purge) mode=purge ;;
    --dry-run) dry=yes ;;
    -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) fail "unknown option $1 (see --help)" ;;
  esac
  shift
done

program=$root/opt/emotion-edge
settings=$root/etc/emotion-edge
unit=$root/etc/systemd/system/emotion-edge.service
sysusers=$root/usr/lib/sysusers.d/emotion-edge.conf
state=$root/var/lib/emotion-edge

run() { # show a step, and take it
  echo "  $*"
  [ -n "$dry" ] || "$@"
}

# Services and users exist only on the running system itself, not in a folder or a container without systemd.
manages() { [ -z "$root" ] && [ -d /run/systemd/system ]; }

if [ -z "$root" ] && [ -z "$dry" ] && [ "$(id -u)" != 0 ]; then fail "run it as root: sudo $0"; fi

remove() {
  if manages; then run systemctl disable --now emotion-edge.service || true; fi
  run rm -rf "$program"
  run rm -f "$unit" "$sysusers"
  if manages; then run systemctl daemon-reload; fi
  if [ -n "$dry" ]; then echo "nothing was done (--dry-run)"; return; fi
  if [ "$mode" = purge ]; then
    run rm -rf "$settings" "$state"
    if [ -z "$root" ] && id emotion-edge >/dev/null 2>&1; then run userdel emotion-edge; fi
    echo "removed, with its configuration and events"
  else
    echo "removed; $settings and $state are left (--purge removes them)"
  fi
}

install_program() {
  case $(uname -m) in
    x86_64 | aarch64) ;;
    *) fail "this system is $(uname -m); a 64-bit system is needed (no TFLite runtime exists for others)" ;;
  esac
  python=${PYTHON:-python3}
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
    fail "Python 3.10 or later is needed; set PYTHON=/path/to/python3.11"
  "$python" -c 'import ensurepip, venv' 2>/dev/null || fail "python3-venv is missing: sudo apt-get install python3-venv"
  [ -e "$package" ] || fail "$package: no such file"
  [ -z "$wheels" ] || [ -d "$wheels" ] || fail "$wheels: no such folder"

  source=$package
  if [ -d "$package" ] && [ -z "$dry" ]; then
    # Built from a copy: building leaves folders behind, and would pack what an earlier build left.
    source=$(mktemp -d)
    trap 'rm -rf "$source"' EXIT
    (cd "$package" && tar -cf - --exclude=./build --exclude=./.venv --exclude=./.git --exclude=./runs .) | tar -xf - -C "$source"
  fi
  run mkdir -p "$program" "$settings" "$(dirname "$unit")" "$(dirname "$sysusers")"
  [ -x "$program/venv/bin/python" ] || run "$python" -m venv "$program/venv"
  if [ -n "$wheels" ]; then
    run "$program/venv/bin/python" -m pip install --quiet --upgrade --no-index -f "$wheels" "$source"
    run "$program/venv/bin/python" -m pip install --quiet --no-index -f "$wheels" --force-reinstall --no-deps "$source"
  else
    run "$program/venv/bin/python" -m pip install --quiet --upgrade "$source"
    # Again, because a build of the same version would be taken for installed.
    run "$program/venv/bin/python" -m pip install --quiet --force-reinstall --no-deps "$source"
  fi
  [ ! -f "$here/../README.md" ] || run cp "$here/../README.md" "$program/README.md"
  # A configuration that is there is its owner's: it is never replaced.
  [ -e "$settings/config.toml" ] || run install -m 0644 "$here/config.toml" "$settings/config.toml"
  run install -m 0644 "$here/emotion-edge.service" "$unit"
  run install -m 0644 "$here/emotion-edge.sysusers" "$sysusers"
}

start_service() {
  run systemd-sysusers "$sysusers"
  # Made here with the right owner, so that filling it in is all that is left to do; empty means no password.
  [ -e "$settings/mqtt-password" ] || run install -m 0640 /dev/null "$settings/mqtt-password"
  run chown root:emotion-edge "$settings/mqtt-password"
  run chmod 0640 "$settings/mqtt-password"
  if [ -z "$wheels" ] && [ ! -e "$state/models/face_detection_yunet_2023mar.onnx" ]; then
    run "$program/venv/bin/edge-fetch" yunet --to "$state/models" ||
      echo "  YuNet's weights could not be fetched; faces are found with Haar until: edge-fetch yunet --to $state/models"
  fi
  run systemctl daemon-reload
  run systemctl enable emotion-edge.service
  run systemctl restart emotion-edge.service
}

case $mode in
  install)
    echo "installing emotion-edge into $program"
    install_program
    if manages; then start_service; else echo "  (no running systemd here: users and services are left alone)"; fi
    if [ -n "$dry" ]; then echo "nothing was done (--dry-run)"; else echo "done; settings: $settings/config.toml; log: journalctl -u emotion-edge -f"; fi
    ;;
  *) remove ;;
esac
