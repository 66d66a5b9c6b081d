#!/usr/bin/env bash
# Installs what building and testing need and this machine lacks, and says what and why. Quick when nothing is missing.
#
#   Debian packages   through apt-get, only the missing ones
#   cargo tools       into cargo's own folder of programs, as `cargo install` does
#   Python packages   into target/tools, as e2e/requirements.txt lists them
#   npm packages      into e2e/node_modules, as the lock file says
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

nextest_version=0.9.143
deny_version=0.20.2
node_major=20

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

packages=()
need() { # need PACKAGE WHY: remembers a Debian package to install
  packages+=("$1")
  say "installing the Debian package $1: $2"
}

debian_packages() {
  has cc || need build-essential "a C compiler, for the SQLite that is built in"
  has git || need git "the checks list the files that git knows"
  has node || need nodejs "the end-to-end tests run on it"
  has npm || need npm "it installs the public client for the end-to-end tests"
  has chromium || [ -n "${CHROMIUM:-}" ] || need chromium "the tests of the console drive a real browser"
  has python3 || need python3 "the spelling checker and some peers of the tests are Python packages"
  python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || need python3-venv "these get a folder of their own"
  # A test without it is skipped, but where it can be installed a test must run.
  compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null || need libfaketime "a test sets the server's clock"
  has openssl || need openssl "brokers of the tests get a certificate from it"
  # Debian keeps servers where not everybody's PATH looks.
  [ -x /usr/sbin/mosquitto ] || need mosquitto "the kind Mqtt is tested against a real broker"
  [ -x /usr/bin/mosquitto_sub ] || need mosquitto-clients "that test reads back what the broker got"
  [ -x /usr/sbin/nats-server ] || need nats-server "the kind Nats is tested against a real server"
  [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || need rabbitmq-server "the kind Amqp is tested against a real broker"
  compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || need postgresql "the kind Postgres is tested against a real server"
  if [ ${#packages[@]} -eq 0 ]; then return; fi
  has apt-get || fail "no apt-get here: install these by hand: ${packages[*]}"
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    has sudo || fail "not root and no sudo: install these by hand: ${packages[*]}"
    as_root=(sudo)
  fi
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"
}

node_version() {
  local found
  found=$(node --version)
  found=${found#v}
  [ "${found%%.*}" -ge "$node_major" ] || fail "Node $node_major or later is needed for the end-to-end tests, this is $found"
}

rust_toolchain() {
  has cargo || fail "no cargo: install rustup; rust-toolchain.toml then chooses the version"
  if ! cargo fmt --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1; then
    has rustup || fail "no rustfmt or no clippy beside cargo: install the toolchain of rust-toolchain.toml"
    say "installing clippy and rustfmt: make test checks with both"
    rustup component add clippy rustfmt
  fi
}

cargo_tools() {
  # Any version will do where one is installed: neither changes what is built.
  if ! cargo nextest --version >/dev/null 2>&1; then
    say "installing cargo-nextest $nextest_version: it runs the tests, each in a process of its own (takes minutes)"
    cargo install --quiet --locked --version "$nextest_version" cargo-nextest
  fi
  if ! cargo deny --version >/dev/null 2>&1; then
    say "installing cargo-deny $deny_version: it checks licences and banned crates (takes a minute or two)"
    # --debug: it runs for a second, so optimising it would cost more than it saves.
    cargo install --quiet --locked --debug --version "$deny_version" cargo-deny
  fi
}

python_packages() {
  local folder=target/tools list=e2e/requirements.txt
  if [ -x "$folder/bin/python" ] && cmp -s "$list" "$folder/.installed-list"; then return; fi
  say "installing the Python packages of $list into $folder: the spelling checker, and peers of the end-to-end tests"
  mkdir -p "$folder"
  python3 -m venv "$folder"
  "$folder/bin/pip" install --quiet --disable-pip-version-check --requirement "$list"
  cp "$list" "$folder/.installed-list"
}

npm_packages() {
  local stamp=e2e/node_modules/.installed-lock
  if cmp -s e2e/package-lock.json "$stamp"; then return; fi
  say "installing the npm packages of e2e/package-lock.json: the end-to-end tests use the public client"
  (cd e2e && npm ci --no-audit --no-fund --loglevel=error)
  cp e2e/package-lock.json "$stamp"
}

debian_packages
node_version
rust_toolchain
cargo_tools
python_packages
npm_packages
say "everything that make test needs is here"
