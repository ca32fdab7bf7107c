"""A job script for SLURM that does a spec by shards: arrays do stages, a job between them closes each."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

SCRIPT = """\
#!/bin/bash
#SBATCH --job-name={name}
#SBATCH --requeue
# {count} shards of {spec}. Start it with: bash THIS_FILE
# An array does what can be done, a job after it closes the stage and starts the next array, until the dataset is committed.
# Put lines such as "#SBATCH --partition=..." or "--mem=..." below the first ones; lost or repeated jobs change nothing.
set -u
spec={spec}
options=({options})
rounds=${{CURATE_ROUNDS:-{rounds}}}
me=$(realpath "${{CURATE_SCRIPT:-$0}}")

submit() {{ # an array, and behind it the job that closes its stage
    array=$(CURATE_SCRIPT=$me CURATE_ROUNDS=$rounds sbatch --parsable --export=ALL --array=1-{count} "$me") || exit
    CURATE_SCRIPT=$me CURATE_ROUNDS=$((rounds - 1)) CURATE_COMMIT=1 sbatch --export=ALL --dependency="afterany:${{array%%;*}}" "$me"
}}

if [[ -n ${{SLURM_ARRAY_TASK_ID:-}} ]]; then
    curate run "$spec" "${{options[@]}}" --shard "$SLURM_ARRAY_TASK_ID/{count}"
    code=$?
    [[ $code -eq 4 ]] && code=0 # it waits for others: that is no failure
    exit $code
elif [[ -n ${{CURATE_COMMIT:-}} ]]; then
    unset CURATE_COMMIT
    curate run "$spec" "${{options[@]}}" --commit
    code=$?
    [[ $code -ne 4 ]] && exit $code
    if [[ $rounds -le 0 ]]; then
        echo "the dataset is not complete after all rounds: see what the shards say, mend it, and start this script again" >&2
        exit 4
    fi
    submit
else
    submit
fi
"""


def array_script(spec: Path, name: str, count: int, rounds: int, options: Sequence[str]) -> str:
    """The script.

    Args:
        spec: the file.
        name: of the dataset.
        count: of shards.
        rounds: of arrays at the most: one for each stage, and some for jobs that are lost.
        options: of every ``curate run``.
    """
    return SCRIPT.format(
        name=shlex.quote(f"curate-{name}"), count=count, spec=shlex.quote(str(spec.absolute())), options=shlex.join(options), rounds=rounds
    )
