#!/bin/bash
# The image's entry point: NVIDIA's first, which lets a newer CUDA run on an older driver, then the command itself.
# NVIDIA's script ends in an exec, so that the command takes this shell's place. Where this shell is PID 1, as in the chart's
# init container, the kernel would let it ignore signals: the traps end it. The script is sourced and not run, so that they
# hold inside it.
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
# shellcheck source=/dev/null
source /opt/nvidia/nvidia_entrypoint.sh "$@"
