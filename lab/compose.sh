#!/bin/bash
# The cluster of docker-compose.yml: compose.sh up|down
set -euo pipefail
cd "$(dirname "$0")/.."

compose() {
	if docker compose version >/dev/null 2>&1; then
		docker compose -p gemel-compose "$@"
	elif command -v docker-compose >/dev/null; then
		docker-compose -p gemel-compose "$@"
	else
		echo "compose: neither 'docker compose' nor docker-compose is here; next: apt-get install docker-compose" >&2
		exit 1
	fi
}

[ ! -f bin/image ] || GEMEL_LAB_IMAGE=$(cat bin/image)
export GEMEL_LAB_IMAGE=${GEMEL_LAB_IMAGE:-gemel-lab/node:latest}

case "${1:-}" in
up)
	compose version >/dev/null
	bin/lab files --lab compose --nic eth0
	compose up -d
	echo "compose: up; next: docker exec gemel-compose_server1_1 gemel status"
	;;
down)
	# The boxes go first, and hard: the lab's way of killing them leaves no device behind.
	bin/lab down --lab compose
	compose down --remove-orphans
	;;
*)
	echo "usage: compose.sh up|down" >&2
	exit 2
	;;
esac
