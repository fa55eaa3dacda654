#!/usr/bin/env bash
# What the `ray` image runs: `head`, or `room HOST:PORT`, the inference room beside a Ray node of its own.
set -euo pipefail

resolve() {
    python -c 'import socket, sys; print(socket.gethostbyname(sys.argv[1] or socket.gethostname()))' "${1:-}"
}

# Worker ports: free ones, not Ray's fixed range.
node=(--node-ip-address="$(resolve)" --disable-usage-stats --log-color=false --include-log-monitor=False
      --min-worker-port=0 --max-worker-port=0)

case "${1:-}" in
head)
    # Logical CPUs place replicas, they do not limit them: generous, so that fractions fit.
    exec python -m guidevane.local.ray_head start --head --block "${node[@]}" --port=6379 --dashboard-host=0.0.0.0 \
        --dashboard-port=8265 --no-monitor --num-cpus=32 --object-store-memory=200000000
    ;;
room)
    # An address, not a name: Ray's resolver does not read /etc/hosts, and tries for ever.
    RAY_ADDRESS=$(resolve "${2%:*}"):${2##*:}
    # A driver reaches a cluster through a node on its own machine; this one offers no CPU, so no replica lands on it.
    ray start --address="$RAY_ADDRESS" "${node[@]}" --num-cpus=0 --object-store-memory=100000000
    export RAY_ADDRESS
    exec python -m guidevane.services.inference
    ;;
*)
    echo "ray.sh: head, or room HOST:PORT" >&2
    exit 64
    ;;
esac
