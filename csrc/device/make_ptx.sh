#!/bin/sh
# Writes append.ptx from append.cu. Needs nvcc 11.7 or later; $NVCC names it.
#
# -fmad=false: sums round as those of the host do. The two lines of the header are replaced by what append.cu
# says it needs, and what nvcc tells about itself is left out.
set -eu
cd "$(dirname "$0")/.."
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT

"${NVCC:-nvcc}" -std=c++17 -O2 --ptx -arch=compute_75 -fmad=false -I. -o "$made/append.ptx" device/append.cu
{
  echo '// Made from append.cu by `make ptx`, which is nvcc with another .version and .target. Do not edit.'
  sed -e '/^[[:space:]]*\/\//d' -e '/^[[:space:]]*$/d' -e 's/[[:space:]]*$//' \
    -e 's/^\.version .*/.version 6.0/' -e 's/^\.target .*/.target sm_70/' \
    -e 's/^\t/  /' -e 's/ *\t */ /g' "$made/append.ptx"
} > device/append.ptx
