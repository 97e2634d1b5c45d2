#!/usr/bin/env bash
# Write docs/demo.txt: what the README's two commands print. Of the second, the outcome.
set -euo pipefail
cd "$(dirname "$0")/.."
export COLUMNS=100
trim() { sed "s/[[:space:]]*$//; /^[╭╰]/d"; }
{
  echo '$ make demo'
  "${AGENTFLOW:-.venv/bin/agentflow}" run plan_push \
    --goal "push the red block 20 cm to the left, keep away from the glass" 2>/dev/null | trim
  echo '$ .venv/bin/agentflow run plan_push --goal "move the green disc next to the blue block"'
  "${AGENTFLOW:-.venv/bin/agentflow}" run plan_push \
    --goal "move the green disc next to the blue block" 2>/dev/null | trim >docs/second.tmp
  sed -n '1p' docs/second.tmp
  sed -n '/^Outcome/,/trusted horizon/p' docs/second.tmp
} >docs/demo.txt
rm -f docs/second.tmp
