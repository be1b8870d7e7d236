#!/bin/sh
# Runs a recipe of the justfile, installing `just` into .tools first where it is missing.
#   ./go exp-textcnn
set -eu
cd "$(dirname "$0")"
if command -v just >/dev/null 2>&1; then
    just=just
else
    just=.tools/bin/just
    if [ ! -x "$just" ]; then
        command -v cargo >/dev/null 2>&1 || { echo "cargo is missing; fix: install Rust from https://rustup.rs" >&2; exit 1; }
        echo "installing just into .tools (once)" >&2
        # Its own speed does not matter here, the time to build it does.
        CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
            cargo install just --version 1.59.0 --locked --quiet --root .tools
    fi
fi
exec "$just" "$@"
