#!/usr/bin/env bash
# Drives the built binary from outside: the tests of this folder, then the shared cases where they lie beside the checkout.
#   run.sh            everything
#   run.sh sharing    tests/sharing.test.mjs alone
# TRIBUTARY_BIN chooses another binary than target/debug/tributary.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tests=(e2e/tests/*.test.mjs)
if [ $# -gt 0 ]; then tests=("e2e/tests/$1.test.mjs"); fi
# One file at a time: they measure, and a crash test beside a load test would measure the machine.
node --test --test-concurrency=1 --test-reporter=spec "${tests[@]}"
if [ $# -gt 0 ]; then exit 0; fi

shared=../shared/conformance/run.sh
if [ -f "$shared" ]; then
  node e2e/with-server.mjs bash "$shared"
else
  echo "the shared cases are not beside this checkout ($shared): they are not run"
fi
