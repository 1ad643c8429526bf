# Shared by the scripts beside it, which source it: `. "$(dirname "$0")/lib.sh"`. Leaves the shell in the root of the
# repository.
set -euo pipefail
caller=$PWD
# Where one is exported, `cd` goes elsewhere.
unset CDPATH
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

say() { printf '\033[1m== %s\033[0m\n' "$*" >&2; }
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# from_caller PATH: what an argument means where the script was called.
from_caller() {
  [[ $1 == /* ]] && echo "$1" || echo "$caller/$1"
}

# take_arguments "FLAG…" ARGUMENT…: the arguments as $arguments, with the paths behind these flags those of the caller.
take_arguments() {
  local flags=" $1 " argument before=
  shift
  arguments=()
  for argument; do
    if [[ -n $before && $flags == *" $before "* ]]; then
      argument=$(from_caller "$argument")
    elif [[ $argument == --*=* && $flags == *" ${argument%%=*} "* ]]; then
      argument=${argument%%=*}=$(from_caller "${argument#*=}")
    fi
    arguments+=("$argument")
    before=$argument
  done
}

need_rust() {
  have cargo || die "cargo is missing; install Rust 1.95 or newer from https://rustup.rs"
  have cc || die "a C compiler is missing; install gcc or clang (Debian: apt-get install build-essential)"
}

# --- Bun -------------------------------------------------------------------------------------------------------------

# Puts a bun on PATH: the one that is there if it is new enough, else the pinned one, fetched into .tools/.
need_bun() {
  if have bun && new_enough "$(bun --version 2>/dev/null)"; then return; fi
  local version
  version=$(pin version)
  local dir=$PWD/.tools/bun-$version
  [ -x "$dir/bun" ] || fetch_bun "$version" "$dir"
  export PATH="$dir:$PATH"
}

# The same minimum as in src/config/bun.rs.
new_enough() {
  local major=0 minor=0
  IFS=. read -r major minor _ <<<"$1" || true
  [[ $major =~ ^[0-9]+$ && $minor =~ ^[0-9]+$ ]] || return 1
  ((major > 1 || (major == 1 && minor >= 4)))
}

pin() { awk -v name="$1" '$1 == name { print $2 }' "scripts/${2:-bun}.pins"; }

# The name of this machine's package, without its scope.
platform() {
  local system machine variant=
  case $(uname -s) in
    Linux) system=linux ;;
    Darwin) system=darwin ;;
    *) die "there is no bun package for $(uname -s)" ;;
  esac
  case $(uname -m) in
    x86_64 | amd64) machine=x64 ;;
    aarch64 | arm64) machine=aarch64 ;;
    *) die "there is no bun package for $(uname -m)" ;;
  esac
  if [ $system = linux ]; then
    if compgen -G '/lib/ld-musl-*' >/dev/null; then
      variant=-musl
    elif [ $machine = x64 ] && ! grep -qw avx2 /proc/cpuinfo; then
      variant=-baseline
    fi
  fi
  echo "$system-$machine$variant"
}

fetch_bun() {
  local version=$1 dir=$2 platform expected work
  have npm || die "neither bun nor npm is there; install Node.js (with npm), or bun: npm install -g bun"
  platform=$(platform)
  expected=$(pin "$platform")
  [ -n "$expected" ] || die "scripts/bun.pins has no line for $platform"
  say "fetching bun $version ($platform)"
  mkdir -p .tools
  work=$(mktemp -d .tools/fetch.XXXXXX)
  fetch_npm "@oven/bun-$platform@$version" "$expected" "$work" package/bin/bun
  chmod 755 "$work/package/bin/bun"
  mkdir -p "$dir"
  # Renamed last, so that a broken download is never taken for a bun.
  mv "$work/package/bin/bun" "$dir/bun"
  rm -rf "$work"
}

# --- npm packages ----------------------------------------------------------------------------------------------------

# fetch_npm PACKAGE INTEGRITY WORK FILE…: unpacks files of a package, if it is the pinned one, into the directory WORK, which
# is removed if it is not. Its version has to be exact: npm takes an older one in silence where Node.js is too old for the newest.
fetch_npm() {
  local package=$1 expected=$2 work=$3 archive actual
  shift 3
  npm pack --silent --ignore-scripts --pack-destination "$work" "$package" >/dev/null
  archive=$(ls "$work"/*.tgz)
  actual=sha512-$(node -e '
    const hash = require("crypto").createHash("sha512");
    process.stdout.write(hash.update(require("fs").readFileSync(process.argv[1])).digest("base64"));
  ' "$archive")
  if [ "$actual" != "$expected" ]; then
    rm -rf "$work"
    die "$package does not have the integrity that it is pinned with: $actual"
  fi
  tar -xzf "$archive" -C "$work" "$@"
}

# Installs what the lock file of a directory says, unless that was done.
npm_ci() {
  local dir=$1
  [ -f "$dir/package-lock.json" ] || return 0
  [ "$dir/node_modules/.package-lock.json" -nt "$dir/package-lock.json" ] && return 0
  have npm || die "npm is missing; install Node.js"
  say "npm ci in $dir"
  (cd "$dir" && npm ci --silent --ignore-scripts --no-audit --no-fund) || return 1
  touch "$dir/node_modules/.package-lock.json"
}

npm_ci_examples() {
  local lock
  for lock in examples/*/package-lock.json; do
    [ ! -f "$lock" ] || npm_ci "$(dirname "$lock")" || return 1
  done
}

# Whether the registry of npm can be asked.
registry() { have npm && npm view --silent --fetch-retries=0 --fetch-timeout=20000 bun version >/dev/null 2>&1; }

# --- cargo-deb ---------------------------------------------------------------------------------------------------------

cargo_deb_version=3.8.0
cargo_deb=.tools/cargo-deb-$cargo_deb_version/bin/cargo-deb

# Puts $cargo_deb there, unless it is.
need_cargo_deb() {
  [ -x "$cargo_deb" ] && return 0
  say "cargo install cargo-deb $cargo_deb_version"
  # It compresses one package: what is faster to build is good enough.
  CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
    cargo install --quiet --locked --no-track --root "${cargo_deb%/bin/*}" --version "$cargo_deb_version" cargo-deb
}

# links FILE: where a document leads, but for other sites and places in itself.
links() { grep -oE '\]\([^)#]+' "$1" | cut -c 3- | grep -vE '^[a-z]+:'; }

# --- Steps that are counted --------------------------------------------------------------------------------------------

passed=0 failed=0 skipped=0 failures=() skips=()

# prepare COMMAND…: something that the checks need; counts only when it fails, and does not stop them.
prepare() {
  "$@" && return 0
  failed=$((failed + 1))
  failures+=("$*")
}

# step NAME COMMAND…: runs a check that counts as one.
step() {
  local name=$1
  shift
  say "$name"
  if "$@"; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    failures+=("$name")
  fi
}

# tests NAME COUNTER COMMAND…: runs tests and adds up what COUNTER reads from their output ("passed failed skipped").
tests() {
  local name=$1 counter=$2 log status=0 counts
  shift 2
  say "$name"
  log=$(mktemp)
  "$@" 2>&1 | tee "$log" || status=1
  counts=$($counter <"$log")
  rm -f "$log"
  local p f s
  read -r p f s <<<"$counts"
  passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
  if ((f > 0)); then
    failures+=("$name")
  elif ((status != 0 || p == 0)); then
    # It broke before it could count, or there was nothing to count.
    failed=$((failed + 1))
    failures+=("$name")
  fi
  ((s == 0)) || skips+=("$name: $s skipped")
}

# skip NAME REASON: something that this machine cannot check. In CI (CI=true) that is a failure.
skip() {
  printf '\033[1;33m== SKIPPED: %s: %s\033[0m\n' "$1" "$2" >&2
  if [ "${CI:-}" = true ]; then
    failed=$((failed + 1))
    failures+=("$1 (skipped: $2)")
  else
    skipped=$((skipped + 1))
    skips+=("$1: $2")
  fi
}

# Prints the sum as the last line; the status says whether all is well.
summary() {
  local item
  for item in ${failures[@]+"${failures[@]}"}; do printf 'failed: %s\n' "$item"; done
  for item in ${skips[@]+"${skips[@]}"}; do printf 'skipped: %s\n' "$item"; done
  printf '%d passed, %d failed' "$passed" "$failed"
  ((skipped == 0)) || printf ', %d skipped' "$skipped"
  printf '\n'
  ((failed == 0))
}

count_nextest() {
  without_colour | awk '
    /Summary \[/ { for (i = 1; i <= NF; i++) { n = $(i - 1)
      if ($i ~ /^passed/) p = n; if ($i ~ /^(failed|timed)/) f += n; if ($i ~ /^skipped/) s = n } }
    END { print p + 0, f + 0, s + 0 }'
}

count_cargo_test() {
  without_colour | awk '
    /^test result:/ { for (i = 1; i <= NF; i++) { n = $(i - 1)
      if ($i ~ /^passed/) p += n; if ($i ~ /^failed/) f += n; if ($i ~ /^ignored/) s += n } }
    END { print p + 0, f + 0, s + 0 }'
}

count_bun_test() {
  without_colour | awk '
    /^ +[0-9]+ pass$/ { p = $1 } /^ +[0-9]+ fail$/ { f = $1 } /^ +[0-9]+ (skip|todo)$/ { s += $1 }
    END { print p + 0, f + 0, s + 0 }'
}

without_colour() { sed $'s/\033\\[[0-9;]*m//g'; }

# --- Lints, shared by scripts/lint and scripts/test ------------------------------------------------------------------

lints() {
  if cargo fmt --version >/dev/null 2>&1; then
    step "cargo fmt" cargo fmt --check
  else
    skip "cargo fmt" "rustfmt is missing: rustup component add rustfmt"
  fi
  if cargo clippy --version >/dev/null 2>&1; then
    step "cargo clippy" cargo clippy --locked --workspace --all-targets -- -D warnings
  else
    skip "cargo clippy" "clippy is missing: rustup component add clippy"
  fi
  step "cargo doc: the SDK of plugins" env RUSTDOCFLAGS='-D warnings' cargo doc --quiet --locked --no-deps --all-features -p buntime-plugin
  step "shim: types" in_dir worker-shim npm run --silent check
  step "shim: the committed bundle is what its source gives" shim_bundle_is_current
  step "examples of plugins: types" worker-shim/node_modules/.bin/tsc --noEmit -p plugins
  step "bench: types" worker-shim/node_modules/.bin/tsc --noEmit -p benches/side-by-side
  step "soak: types" worker-shim/node_modules/.bin/tsc --noEmit -p benches/soak
  step "soak of dev: types" worker-shim/node_modules/.bin/tsc --noEmit -p benches/dev-soak
  local programs=(.ci/run packaging/deb/p* tests/vm/guest) file
  for file in scripts/*; do [[ $file == *.pins ]] || programs+=("$file"); done
  step "scripts: syntax" each bash -n "${programs[@]}"
  step "packages: types" worker-shim/node_modules/.bin/tsc --noEmit -p tests/vm
  if [ -x .tools/hadolint/bin/hadolint ]; then
    step "hadolint" .tools/hadolint/bin/hadolint packaging/Containerfile
  else
    skip "hadolint" "it is missing: scripts/ci-tools installs it"
  fi
}

# each COMMAND [-OPTION…] FILE…: the command for each file.
each() {
  local command=("$1") status=0 file
  shift
  while [[ ${1:-} == -* ]]; do command+=("$1") && shift; done
  for file; do "${command[@]}" "$file" || status=1; done
  return $status
}

in_dir() {
  local dir=$1
  shift
  (cd "$dir" && "$@")
}

shim_bundle_is_current() {
  local before status=0
  before=$(mktemp -d)
  cp -R worker-shim/dist/. "$before"
  in_dir worker-shim bun run --silent build && diff -r "$before" worker-shim/dist || status=1
  rm -rf "$before"
  return $status
}
