#!/usr/bin/env bash
# What the `ray` image runs: `head`, or `room ADDRESS`, the inference room beside a Ray node of its own.
set -euo pipefail

address=$(python -c 'import socket; print(socket.gethostbyname(socket.gethostname()))')
# Worker ports: free ones, not Ray's fixed range.
node=(--node-ip-address="$address" --disable-usage-stats --log-color=false --min-worker-port=0 --max-worker-port=0
      --include-log-monitor=False)

case "$1" in
head)
    # Logical CPUs place replicas, they do not limit them: generous, so that fractions fit.
    exec python -m guidevane.local.ray_head start --head --block "${node[@]}" --port=6379 \
        --dashboard-host=0.0.0.0 --dashboard-port=8265 --no-monitor --num-cpus=32 --object-store-memory=200000000
    ;;
room)
    # A driver reaches a cluster through a node on its own machine; this one offers no CPU, so no replica lands here.
    until ray start --address="$2" "${node[@]}" --num-cpus=0 --object-store-memory=100000000; do
        echo "ray.sh: no Ray at $2 yet" >&2
        sleep 2
    done
    RAY_ADDRESS=$2 exec python -m guidevane.services.inference
    ;;
*)
    echo "ray.sh: head, or room ADDRESS" >&2
    exit 64
    ;;
esac
