#!/bin/sh
# Install emotion-edge as a service on this board, upgrade it, or remove it. Run it as often as you like: it changes only what
# differs, and completes what was interrupted.
#
#   sudo ./install.sh                           in an unpacked bundle of edge-bundle: without a network
#   sudo systemd/install.sh                     in a checkout: packages come from the network
#   sudo systemd/install.sh --from FILE.whl     from a wheel
#   sudo systemd/install.sh --wheels DIR        without a network: every package from DIR
#   sudo ./install.sh --rollback                back to the version before
#   sudo ./install.sh --uninstall               remove program and units; configuration and events stay
#   sudo ./install.sh --purge                   remove everything
#   --dry-run shows each step and takes none; --root DIR works below DIR and leaves users and services alone
#   --patience SECONDS is how long a new version may take to prove itself before the old one comes back (60)
set -eu
umask 022
export LC_ALL=C.UTF-8

here=$(cd "$(dirname "$0")" && pwd)
package=$(dirname "$here")
wheels='' root='' mode=install dry='' patience=60 changed='' bundle='' from=''
service=emotion-edge.service engine=emotion-edge-engine.service

fail() {
  echo "install.sh: $1" >&2
  exit "${2:-2}"
}

say() { echo "  $*"; }

run() { # show a step, and take it
  say "$@"
  [ -n "$dry" ] || "$@"
}

arguments() {
  while [ $# -gt 0 ]; do
    case $1 in
      --from) [ $# -gt 1 ] || fail "--from needs a file"; package=$2; from=yes; shift ;;
      --wheels) [ $# -gt 1 ] || fail "--wheels needs a folder"; wheels=$2; from=yes; shift ;;
      --root) [ $# -gt 1 ] || fail "--root needs a folder"; root=${2%/}; shift ;;
      --patience) [ $# -gt 1 ] || fail "--patience needs seconds"; patience=$2; shift ;;
      --rollback) mode=rollback ;;
      --uninstall) mode=uninstall ;;
      --purge) mode=purge ;;
      --dry-run) dry=yes ;;
      -h | --help) sed -n '2,/^set -eu/s/^# \{0,1\}//p' "$0"; exit 0 ;;
      *) fail "unknown option $1 (see --help)" ;;
    esac
    shift
  done
  case $patience in '' | 0 | *[!0-9]*) fail "--patience needs a whole number of seconds, not '$patience'" ;; esac
  # So long one and the same process must have been up: 35 of 60 s, which is more than the unit's WatchdogSec.
  steady=$(((patience * 7 + 11) / 12))
  program=$root/opt/emotion-edge
  settings=$root/etc/emotion-edge
  units=$root/etc/systemd/system
  sysusers=$root/usr/lib/sysusers.d/emotion-edge.conf
  state=$root/var/lib/emotion-edge
  cache=$root/var/cache/emotion-edge
  commands=$root/usr/local/bin
  if [ -f "$here/bundle.json" ]; then
    bundle=yes
    [ -z "$from" ] || fail "a bundle is installed as it is; --from and --wheels are for a checkout"
  fi
  if [ -z "$root$dry" ] && [ "$(id -u)" != 0 ]; then fail "run it as root: sudo $0"; fi
}

# ---- what is there -----------------------------------------------------------------------------------------------------

# sd_booted(3): this folder is there if and only if systemd manages the machine.
booted() { [ -d "$root/run/systemd/system" ]; }

# Users are the running system's own, even where --root points at a tree that looks like one.
has_user() { [ -z "$root" ] && id emotion-edge >/dev/null 2>&1; }

tegra() {
  [ -e "$root/etc/nv_tegra_release" ] && return
  [ -z "$root" ] && tr '\0' '\n' </proc/device-tree/compatible 2>/dev/null | grep -q '^nvidia,tegra'
}

version_of() { # the version that a link points to, if any
  pointed=$(readlink "$program/$1" 2>/dev/null) || return 0
  [ ! -e "$program/$pointed/.complete" ] || echo "${pointed#versions/}"
}

room() { # refuse when fewer than $1 KiB are free where the program goes
  place=$program
  while [ ! -d "$place" ]; do place=$(dirname "$place"); done
  free=$(df -Pk "$place" | tail -n 1 | { read -r _ _ _ kib _; echo "$kib"; })
  [ "$free" -ge "$1" ] || fail "$program needs $(($1 / 1024)) MB and $((free / 1024)) MB are free; make room and run it again"
}

# ---- refusals: nothing has been touched yet ----------------------------------------------------------------------------

examine_bundle() { # prints version, id, target, Python and KiB of the bundle, if it is whole and for this machine
  python3 -I -B - "$here" <<'END'
import hashlib, json, os, re, stat, struct, sys

FORMS = {"target": "[a-z0-9-]+", "version": "[0-9A-Za-z.+]+", "python": r"3\.[0-9]+", "machine": r"\w+", "glibc": r"[0-9]+\.[0-9]+"}
here = sys.argv[1]


def fail(text):
    sys.stderr.write("install.sh: %s\n" % text)
    sys.exit(2)


def numbers(version):
    return [int(part) for part in re.findall("[0-9]+", version)[:2]]


try:
    with open(os.path.join(here, "bundle.json"), "rb") as file:
        raw = file.read()
    bundle = json.loads(raw.decode("utf-8"))
    if bundle["format"] != 1:
        fail("the bundle is of format %s, and this installer knows format 1; use the install.sh inside it" % bundle["format"])
    files = {str(name): (str(entry["sha256"]), int(entry["bytes"])) for name, entry in bundle["files"].items()}
    size = int(bundle["installed_bytes"])
    facts = {key: str(bundle[key]) for key in FORMS}
except (OSError, ValueError, LookupError, TypeError, AttributeError):
    fail("bundle.json cannot be read; unpack the bundle again, or make a new one with edge-bundle")
for key, form in FORMS.items():
    if not re.match("(?:%s)$" % form, facts[key]):
        fail("bundle.json has no proper %s; unpack the bundle again, or make a new one with edge-bundle" % key)

machine, bits = os.uname().machine, 8 * struct.calcsize("P")
if machine != facts["machine"] or bits != 64:
    text = "the bundle is for %s, 64-bit (%s), and this system is %s, %d-bit; edge-bundle --target makes one for it"
    fail(text % (facts["machine"], facts["target"], machine, bits))
try:
    library = os.confstr("CS_GNU_LIBC_VERSION") or ""
except (ValueError, OSError):
    library = ""
if not library.startswith("glibc "):
    fail("the bundle needs glibc %s, and this system has another C library" % facts["glibc"])
if numbers(library) < numbers(facts["glibc"]):
    fail("the bundle needs glibc %s (%s), and this system has %s; edge-bundle --target makes one for it"
         % (facts["glibc"], facts["target"], library[6:]))

for folder, folders, names in os.walk(here):
    inside = os.path.relpath(folder, here)
    for name in names:
        path = os.path.normpath(os.path.join(inside, name))
        if inside != "." and path not in files:
            fail("%s does not belong to this bundle; unpack it again into an empty folder" % path)
for name, (digest, length) in sorted(files.items()):
    path = os.path.join(here, name)
    try:
        if os.path.normpath(name) != name or name.startswith(("/", "..")) or not stat.S_ISREG(os.lstat(path).st_mode):
            fail("%s in bundle.json is no plain file of the bundle" % name)
        found, count = hashlib.sha256(), 0
        with open(path, "rb") as file:
            for part in iter(lambda: file.read(1 << 20), b""):
                found.update(part)
                count += len(part)
    except OSError as error:
        fail("%s cannot be read (%s); unpack the bundle again" % (name, error.strerror))
    if (found.hexdigest(), count) != (digest, length):
        fail("%s is damaged: its sha256 is not the one in bundle.json; copy or unpack the bundle again" % name)
print(facts["version"], hashlib.sha256(raw).hexdigest()[:8], facts["target"], facts["python"], size // 1024)
END
}

is_python() { # command $1 is Python $2, or any that will do
  "$1" -I -B -c 'import sys; v = sys.argv[1]; now = sys.version_info[:2]
sys.exit(sys.maxsize < 2**32 or (now != tuple(map(int, v.split("."))) if v else now < (3, 10)))' "${2:-}" 2>/dev/null
}

find_python() { # sets python; $1: the version that it must be, or nothing
  for python in ${PYTHON:+"$PYTHON"} ${1:+"python$1"} python3 ''; do
    [ -n "$python" ] || break
    if is_python "$python" "${1:-}"; then break; fi
    [ "$python" != "${PYTHON:-}" ] || { python=''; break; }
  done
  [ -n "$python" ] || fail "Python ${1:-3.10 or later}, 64-bit, is needed; set PYTHON=/path/to/python${1:-3.11}"
  "$python" -I -B -c 'import ensurepip, venv' 2>/dev/null ||
    fail "python3-venv is missing: sudo apt-get install python3-venv"
}

prepare_bundle() {
  command -v python3 >/dev/null || fail "python3 is missing: sudo apt-get install python3 python3-venv"
  facts=$(examine_bundle) || exit 2
  read -r version digest target wanted kib <<END
$facts
END
  id=$version-$digest
  case $target in
    orin-* | jetson-*) tegra || fail "the bundle is for a Jetson ($target), and this is none; edge-bundle --target makes another" ;;
    pi-*) ! tegra || fail "the bundle is for a Raspberry Pi ($target), and this is a Jetson; edge-bundle --target makes another" ;;
  esac
  # A bundle may bring the Python that the board has not.
  archive=$(find "$here" -path "$here/python/*" -name '*.tar.*' | head -n 1)
  [ -n "$archive" ] || find_python "$wanted"
  source=$here/systemd
}

prepare_checkout() {
  archive=''
  case $(uname -m) in
    x86_64 | aarch64) ;;
    *) fail "this system is $(uname -m); a 64-bit system is needed (no TFLite runtime exists for others)" ;;
  esac
  find_python
  [ -e "$package" ] || fail "$package: no such file"
  [ -z "$wheels" ] || [ -d "$wheels" ] || fail "$wheels: no such folder"
  if [ -d "$package" ]; then
    [ -f "$package/pyproject.toml" ] || fail "$package: no checkout of emotion-edge"
    version=$(sed -n 's/^__version__ = "\([0-9A-Za-z.+]*\)".*/\1/p' "$package/edge/__init__.py" 2>/dev/null) || true
  else
    version=$(basename "$package" | sed -n 's/^emotion_edge-\([0-9A-Za-z.+]*\)-.*\.whl$/\1/p')
  fi
  [ -n "$version" ] || fail "$package: neither a wheel nor a checkout of emotion-edge"
  kib=262144 source=$here
  if tegra; then
    source=$here/jetson
    # JetPack 4 has systemd 237, which lacks half of the keys.
    [ "$(systemctl --version 2>/dev/null | sed -n '1s/^systemd \([0-9]*\).*/\1/p')" != 237 ] || source=$here/jetson-nano
  fi
  # Another content is another version, whatever it calls itself.
  id=$version-$({
    if [ -d "$package" ]; then
      cd "$package" && find pyproject.toml edge converters calibration -type f ! -name '*.pyc' -exec sha256sum {} + | sort -k 2
    else
      sha256sum <"$package"
    fi
    cat "$source"/emotion-edge*.service "$here/emotion-edge.sysusers"
  } | sha256sum | cut -c 1-8)
}

# ---- writing: whole or not at all --------------------------------------------------------------------------------------

broken() { # the sentence for a write that failed
  case $2 in
    *[Nn]"o space left"* | *"Errno 28"*) fail "$1: the disk is full; make room and run it again" ;;
  esac
  last=$(printf '%s\n' "$2" | grep -v -e '^ *$' -e '^\[notice\]' | tail -n 1)
  fail "$1${last:+ ($last)}"
}

put() { # file $1 becomes $2 with mode $3, unless it is the same already
  if cmp -s "$1" "$2"; then return; fi
  changed=yes
  say "install $1 as $2"
  [ -z "$dry" ] || return 0
  if ! said=$({ mkdir -p "$(dirname "$2")" && cp "$1" "$2.new" && chmod "$3" "$2.new" && mv -f "$2.new" "$2"; } 2>&1); then
    rm -f "$2.new"
    broken "$2 cannot be written" "$said"
  fi
}

link() { # $2 points to $1, in one step
  [ "$(readlink "$2" 2>/dev/null)" != "$1" ] || return 0
  changed=yes
  say "$2 -> $1"
  [ -z "$dry" ] || return 0
  said=$({ mkdir -p "$(dirname "$2")" && ln -sfn "$1" "$2.new" && mv -fT "$2.new" "$2"; } 2>&1) ||
    broken "$2 cannot be made" "$said"
}

drop() { # remove a file that is there
  if [ ! -e "$1" ] && [ ! -L "$1" ]; then return; fi
  changed=yes
  run rm -rf "$1"
}

attempt() { # a step of building version $folder; $1 is what to say when it fails, and nothing of the version is left then
  what=$1
  shift
  say "$@"
  [ -z "$dry" ] || return 0
  if ! said=$("$@" 2>&1); then
    # Some programs do not say why; of files there may be too many while bytes are left.
    for kind in k i; do
      [ "$(df "-P$kind" "$program" | tail -n 1 | { read -r _ _ _ free _; echo "$free"; })" -ge 64 ] || said="No space left"
    done
    rm -rf "$folder"
    broken "$what" "$said"
  fi
}

# ---- a version ---------------------------------------------------------------------------------------------------------

find_pip='
import ensurepip, glob, os, sysconfig
folders = [sysconfig.get_config_var("WHEEL_PKG_DIR"), os.path.join(os.path.dirname(ensurepip.__file__), "_bundled")]
print(([wheel for folder in folders if folder for wheel in sorted(glob.glob(os.path.join(folder, "pip-*.whl")))] or [""])[-1])
'

works() { [ -e "$folder/.complete" ] && "$folder/venv/bin/python" -I -B -c 'import edge' 2>/dev/null; }

build() { # everything below versions/$id; the mark .complete comes last
  if works; then return; fi
  changed=yes
  [ ! -e "$folder" ] || run rm -rf "$folder"
  unfit="the new version was not installed and nothing else has changed"
  attempt "$unfit" mkdir -p "$folder"
  if [ -n "$archive" ]; then
    attempt "$unfit" tar -xf "$archive" -C "$folder"
    python=$folder/python/bin/python3
  fi
  # pip is run out of the wheel that Python has for its virtual environments: the board has no use for it afterwards.
  pip=''
  if [ -x "$python" ] || command -v "$python" >/dev/null; then pip=$("$python" -I -B -c "$find_pip"); fi
  if [ -n "$pip" ]; then
    attempt "$unfit" "$python" -I -m venv --without-pip "$folder/venv"
    set -- "$pip/pip"
  else
    attempt "$unfit" "$python" -I -m venv "$folder/venv"
    set -- -m pip
  fi
  into=$folder/venv/bin/python
  # A bundle knows where its packages are, whatever pip is told elsewhere on this machine.
  set -- "$@" ${bundle:+--isolated} install --quiet --disable-pip-version-check --no-cache-dir --no-compile
  if [ -n "$bundle" ]; then
    # The lock is complete; what a board needs in place of another package was decided there.
    set -- "$@" --no-index --no-deps --require-hashes --find-links "$here/wheels"
    attempt "$unfit" "$into" -I "$@" -r "$here/requirements.txt"
    attempt "$unfit" cp -R "$here/models" "$folder/models"
    attempt "$unfit" cp "$here/bundle.json" "$here/README.md" "$here/mosquitto.conf" "$here/mosquitto.acl" "$folder/"
  else
    if [ -d "$package" ] && [ -z "$dry" ]; then
      # Built from a copy: building leaves folders behind, and would pack what an earlier build left.
      copy=$(mktemp -d)
      trap 'rm -rf "$copy"' EXIT
      (cd "$package" && tar -cf - --exclude=__pycache__ pyproject.toml README.md LICENSE NOTICE edge converters calibration) |
        tar -xf - -C "$copy"
      package=$copy
    fi
    if [ -n "$wheels" ]; then set -- "$@" --no-index --find-links "$wheels"; fi
    attempt "$unfit" "$into" -I "$@" "$package"
    attempt "$unfit" cp "$here/mosquitto.conf" "$here/mosquitto.acl" "$folder/"
    if [ -f "$here/../README.md" ]; then attempt "$unfit" cp "$here/../README.md" "$folder/"; fi
  fi
  # The service may not write there, and would compile at each start. What nobody imports stays as it is.
  say "$into" -m compileall "$folder/venv"
  [ -n "$dry" ] ||
    "$into" -I -m compileall -q -x '/(pip|setuptools|pkg_resources|tests?|testing|f2py)/' "$folder/venv/lib" >/dev/null 2>&1 || true
  attempt "$unfit" mkdir -p "$folder/systemd"
  # The units of a version come back with it.
  for unit in "$source"/emotion-edge*.service "$here/emotion-edge.sysusers" "$here/systemd/emotion-edge.sysusers"; do
    if [ -f "$unit" ]; then attempt "$unfit" cp "$unit" "$folder/systemd/"; fi
  done
  attempt "this version does not work here, and nothing else has changed" timeout 600 "$folder/venv/bin/edge-run" --check
  attempt "$unfit" sync -f "$folder"
  attempt "$unfit" touch "$folder/.complete"
  attempt "$unfit" sync -f "$folder"
}

devices() { # a Jetson's GPU has nodes that differ from board to board: the units get those that are there
  list=''
  for node in "$root"/dev/nvhost* "$root"/dev/nvmap "$root"/dev/nvgpu/*/* "$root"/dev/nvidia* "$root"/dev/nvidia-caps/* \
    "$root"/dev/nvsciipc "$root"/dev/host1x-fence "$root"/dev/dri/*; do
    if [ -c "$node" ]; then list="${list}DeviceAllow=${node#"$root"} rw
"; fi
  done
  [ -n "$list" ] || say "(no GPU nodes below $root/dev: run it again on the board itself, or models run on the processor)"
  for unit in $service $engine; do
    place=$units/$unit.d/devices.conf
    text="# Written by install.sh: the nodes of this board's GPU.
[Service]
$list"
    [ "$(cat "$place" 2>/dev/null)" != "${text%?}" ] || continue
    changed=yes
    say "list $(printf '%s' "$list" | wc -l) GPU nodes in $place"
    [ -z "$dry" ] || continue
    said=$({ mkdir -p "$(dirname "$place")" && printf '%s' "$text" >"$place.new" && mv -f "$place.new" "$place"; } 2>&1) ||
      broken "$place cannot be written" "$said"
  done
}

own() { # folder $1 is the service's alone
  [ -d "$1" ] || run mkdir -p -m 0700 "$1"
  if has_user && [ "$(stat -c %U "$1" 2>/dev/null)" != emotion-edge ]; then run chown emotion-edge: "$1"; fi
}

lay_down() { # everything beside the program, for version $1; its own units, or in a dry run those that it would have
  laid=$program/versions/$1/systemd
  [ -d "$laid" ] || laid=$source
  users=$laid/emotion-edge.sysusers
  [ -f "$users" ] || users=$here/emotion-edge.sysusers
  put "$users" "$sysusers" 0644
  if booted && [ -z "$root" ]; then run systemd-sysusers "$sysusers"; fi
  put "$laid/$service" "$units/$service" 0644
  if [ -f "$laid/$engine" ]; then
    put "$laid/$engine" "$units/$engine" 0644
    own "$cache"
    devices
  else
    drop "$units/$engine"
    for unit in $service $engine; do drop "$units/$unit.d/devices.conf"; done
  fi
  # A configuration that is there is its owner's: it is never replaced.
  # Not for everybody's eyes: the address of a network camera holds its password.
  if [ ! -e "$settings/config.toml" ]; then
    put "$here/config.toml" "$settings/config.toml" 0640
  fi
  # edge-flash lays one down before the service's group is there.
  if has_user && [ "$(stat -c %U:%G:%a "$settings/config.toml" 2>/dev/null)" = root:root:640 ]; then
    run chown root:emotion-edge "$settings/config.toml"
  fi
  # Made here with the right owner, so that filling it in is all that is left to do; empty means no password.
  [ -e "$settings/mqtt-password" ] || run install -m 0640 /dev/null "$settings/mqtt-password"
  if has_user; then run chown root:emotion-edge "$settings/mqtt-password"; fi
  own "$state"
  if [ -n "$bundle" ] && [ -f "$here/models/face_detection_yunet_2023mar.onnx" ]; then
    put "$here/models/face_detection_yunet_2023mar.onnx" "$state/models/face_detection_yunet_2023mar.onnx" 0644
    own "$state/models"
  fi
}

activate() { # version $1 is the one that starts from now on; until the link is replaced, the other one is
  lay_down "$1"
  if booted; then
    run systemctl daemon-reload
    run systemctl enable $service
  fi
  now=$(version_of current)
  if [ -n "$now" ] && [ "$now" != "$1" ]; then link "versions/$now" "$program/previous"; fi
  [ -n "$dry" ] || sync -f "$program"
  link "versions/$1" "$program/current"
  for script in "$program/versions/$1/venv/bin"/edge-*; do
    # Commands for a workstation are in the same package and do not work here.
    grep -qs '^from edge\.' "$script" || continue
    place=$commands/${script##*/}
    case $(readlink "$place" 2>/dev/null || true) in
      */opt/emotion-edge/*) ;;
      *) if [ -e "$place" ] || [ -L "$place" ]; then say "($place is not of emotion-edge and stays)"; continue; fi ;;
    esac
    link "../../../opt/emotion-edge/current/venv/bin/${script##*/}" "$place"
  done
  for place in "$commands"/edge-*; do
    case $(readlink "$place" 2>/dev/null || true) in */opt/emotion-edge/*) [ -n "$dry" ] || [ -e "$place" ] || drop "$place" ;; esac
  done
  [ -n "$dry" ] || sync -f "$program"
}

# ---- is it healthy? ----------------------------------------------------------------------------------------------------

start() {
  if [ -f "$units/$engine" ]; then
    say "building the TensorRT engine where it is missing; that takes minutes"
    run systemctl restart $engine || say "(no engine: journalctl -u $engine; the processor takes over)"
  fi
  # Returns when the service has said READY, or has failed for the first time.
  ready=yes
  run systemctl restart $service || ready=
}

healthy() { # one and the same process has been up for the last $steady of at most $patience seconds
  left=$patience up=0 before=
  say "watching whether it stays up (at most $patience s)"
  while [ "$left" -gt 0 ]; do
    condition=$(systemctl is-active $service) || true
    case $condition in
      # With Restart=on-failure: its settings or files cannot be used, and nobody tries again.
      failed) return 1 ;;
      # It ended by itself, and well: its source is a file.
      inactive) [ -n "$ready" ] || return 1; return 0 ;;
    esac
    process=$(systemctl show -p MainPID $service)
    if [ "$condition" = active ] && [ "$process" = "$before" ]; then up=$((up + 1)); else up=0; fi
    [ "$up" -lt "$steady" ] || return 0
    before=$process left=$((left - 1))
    sleep 1
  done
  return 1
}

last_words() { # what the service said last, for a person
  said=$(journalctl -u $service -n 1 -o cat --no-pager 2>/dev/null | cut -c 1-200) || said=''
  echo "${said:+; it said: $said}"
}

prove() { # version $1 is active: start it, and take version $2 back when it is not healthy; $earlier was previous before
  if [ -n "$dry" ]; then
    say "systemctl restart $service, and back to ${2:-what was there} when it is not healthy"
    return
  fi
  mark=$program/versions/$1/.healthy
  if [ -z "$changed" ] && [ -e "$mark" ] && systemctl is-active --quiet $service; then
    say "it is installed and runs already"
    return
  fi
  start
  if healthy; then
    touch "$mark"
    return
  fi
  words=$(last_words)
  advice="journalctl -u $service, or edge-doctor --config /etc/emotion-edge/config.toml"
  if [ -z "$2" ] || [ "$2" = "$1" ]; then fail "$1 does not stay up$words; see $advice, then run it again" 1; fi
  echo "$1 does not stay up$words; back to $2"
  activate "$2"
  start
  drop "$program/versions/$1"
  # Activating twice has overwritten the way back that there was before.
  if [ -n "$earlier" ] && [ "$earlier" != "$2" ] && [ -e "$program/versions/$earlier/.complete" ]; then
    link "versions/$earlier" "$program/previous"
  else
    drop "$program/previous"
  fi
  healthy || fail "$1 does not stay up$words; $2 is back and does not either; see $advice" 1
  fail "$1 does not stay up$words; $2 is back and runs" 1
}

tidy() { # the running version and the one before it are kept
  now=$(version_of current) before=$(version_of previous)
  for folder in "$program/versions"/*; do
    case ${folder##*/} in '*' | "$now" | "$before") ;; *) drop "$folder" ;; esac
  done
  # Of installers before there were versions.
  drop "$program/venv"
  drop "$program/README.md"
}

# ---- the three ways ----------------------------------------------------------------------------------------------------

lock() { # two at a time would undo each other
  [ -z "$dry" ] || return 0
  said=$(mkdir -p "$program" 2>&1) || broken "$program cannot be made" "$said"
  exec 9>"$program/.lock"
  ! command -v flock >/dev/null || flock -n 9 || fail "another install.sh is running; wait for it"
}

install_version() {
  if [ -n "$bundle" ]; then prepare_bundle; else prepare_checkout; fi
  echo "installing emotion-edge $id into $program"
  folder=$program/versions/$id
  works || room $((kib + kib / 10 + 32768))
  lock
  build
  # After an interruption the new version may be current and not proven yet: the old one is `previous` then.
  old=$(version_of current)
  earlier=$(version_of previous)
  if [ "$old" = "$id" ]; then old=$earlier; fi
  activate "$id"
  if booted; then
    if [ -z "$bundle$wheels$root" ] && [ ! -e "$state/models/face_detection_yunet_2023mar.onnx" ]; then
      run "$program/current/venv/bin/edge-fetch" yunet --to "$state/models" ||
        say "(YuNet's weights could not be fetched; faces are found with Haar until: edge-fetch yunet --to $state/models)"
    fi
    prove "$id" "$old"
  else
    say "(no running systemd here: users and services are left alone)"
  fi
  [ -n "$dry" ] || tidy
}

roll_back() {
  id=$(version_of previous) old=$(version_of current) earlier='' source=$here
  [ -n "$id" ] || fail "there is no version before this one"
  echo "going back from $old to $id"
  lock
  activate "$id"
  if booted; then prove "$id" "$old"; fi
}

remove() {
  echo "removing emotion-edge from $program"
  if booted; then
    for unit in $service $engine; do
      if [ -f "$units/$unit" ]; then run systemctl disable --now "$unit" || true; fi
    done
  fi
  # A first-boot unit would install it again at the next start.
  for unit in $service $engine emotion-edge-setup.service; do
    drop "$units/$unit"
    drop "$units/multi-user.target.wants/$unit"
    drop "$units/$unit.d/devices.conf"
    if [ -d "$units/$unit.d" ] && [ -z "$dry" ]; then rmdir "$units/$unit.d" 2>/dev/null || true; fi
  done
  for place in "$commands"/edge-*; do
    case $(readlink "$place" 2>/dev/null || true) in */opt/emotion-edge/*) drop "$place" ;; esac
  done
  drop "$sysusers"
  drop "$cache"
  drop "$program"
  if booted; then run systemctl daemon-reload; fi
  if [ "$mode" = purge ]; then
    drop "$settings"
    drop "$state"
    if has_user; then run userdel emotion-edge; fi
  fi
}

main() {
  arguments "$@"
  trap 'echo "install.sh: interrupted; run it again and it goes on" >&2; exit 130' INT TERM HUP
  case $mode in
    install) install_version; end="done; settings: $settings/config.toml; log: journalctl -u emotion-edge -f" ;;
    rollback) roll_back; end="done; $id runs" ;;
    purge) remove; end="removed, with its configuration and events" ;;
    uninstall) remove; end="removed; $settings and $state are left (--purge removes them)" ;;
  esac
  if [ -n "$dry" ]; then echo "nothing was done (--dry-run)"; else echo "$end"; fi
}

# The shell has read all of it by now: removing or replacing this file while it runs does no harm.
main "$@"
exit
