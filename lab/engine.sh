#!/bin/bash
# The lab's container engine: engine.sh start|stop|status
#
# start  uses the engine that answers on the socket, or starts dockerd as a detached daemon and
#        remembers having done so.
# stop   stops the engine only if 'start' started it and no container runs; an engine that belongs
#        to the host is left alone.
set -euo pipefail
run=/run/gemel-lab
pidfile=$run/dockerd.pid
log=/var/lib/gemel-lab/dockerd.log
socket=/var/run/docker.sock

say() { printf 'engine: %s\n' "$*"; }
die() { printf 'engine: %s\n' "$*" >&2; exit 1; }

# answers asks the socket itself, because a docker client may be configured to look elsewhere.
answers() {
	[ -S "$socket" ] && curl -s -m 2 --unix-socket "$socket" http://engine/_ping 2>/dev/null | grep -q OK
}

# ours prints the engine's pid when this script started it and it still runs.
ours() {
	local pid
	pid=$(cat "$pidfile" 2>/dev/null) || return 1
	[ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ] && echo "$pid"
}

version() {
	curl -s -m 2 --unix-socket "$socket" http://engine/version 2>/dev/null |
		sed -n 's/.*"ApiVersion":"\([0-9.]*\)".*/\1/p'
}

# close_inherited closes what callers of this script left open: a lock that one of them holds
# would stay held for as long as the engine runs.
close_inherited() {
	local open
	for open in "/proc/$BASHPID/fd/"*; do
		open=${open##*/}
		[ "$open" -le 2 ] || eval "exec $open>&-"
	done
}

start() {
	[ "$(id -u)" = 0 ] || die "not root; next: run it with sudo"
	mkdir -p "$run" "$(dirname "$log")"
	exec 9>"$run/engine.lock"
	flock 9
	if answers; then
		say "answers on $socket (API $(version))"
		return
	fi
	command -v dockerd >/dev/null || die "no engine answers on $socket and dockerd is not installed; next: run lab/prepare.sh"
	if [ -d /run/systemd/system ] && systemctl start docker >/dev/null 2>&1; then
		wait_answer "systemd's docker.service" && return
	fi
	if [ -z "$(ours || true)" ]; then
		say "starting dockerd (log: $log)"
		# A stale pid file makes dockerd refuse to start after a power cut.
		rm -f "$run/engine.pid"
		ip link show docker0 >/dev/null 2>&1 || touch "$run/made-docker0"
		(
			close_inherited
			exec setsid -f dockerd --pidfile "$run/engine.pid" --host "unix://$socket" >>"$log" 2>&1 </dev/null
		)
		for _ in $(seq 100); do [ -s "$run/engine.pid" ] && break; sleep 0.05; done
		cp "$run/engine.pid" "$pidfile" 2>/dev/null || true
	fi
	wait_answer "dockerd" || { tail -n 15 "$log" >&2; die "dockerd did not answer within 30 s; its last words are above ($log)"; }
	[ -s "$pidfile" ] || cp "$run/engine.pid" "$pidfile"
}

wait_answer() {
	for _ in $(seq 150); do
		if answers; then
			say "$1 answers on $socket (API $(version))"
			return 0
		fi
		sleep 0.2
	done
	return 1
}

stop() {
	local pid
	if ! pid=$(ours); then
		say "was not started by the lab: left as it is"
		return
	fi
	if [ "$(curl -s -m 5 --unix-socket "$socket" http://engine/containers/json)" != "[]" ]; then
		say "containers are running: left as it is"
		return
	fi
	kill -TERM "$pid"
	for _ in $(seq 100); do
		[ -d "/proc/$pid" ] || break
		sleep 0.2
	done
	[ -d "/proc/$pid" ] && die "dockerd (pid $pid) did not stop within 20 s; next: look at $log"
	# dockerd leaves its bridge behind.
	[ ! -e "$run/made-docker0" ] || ip link delete docker0 2>/dev/null || true
	rm -f "$pidfile" "$run/engine.pid" "$run/made-docker0"
	say "stopped dockerd (pid $pid)"
}

status() {
	if ! answers; then
		say "no engine answers on $socket"
		return 1
	fi
	say "answers on $socket (API $(version)), $( [ -n "$(ours || true)" ] && echo 'started by the lab' || echo 'belongs to the host')"
}

case "${1:-}" in
start | stop | status) "$1" ;;
*) die "usage: engine.sh start|stop|status" ;;
esac
