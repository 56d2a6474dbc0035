package config

// Kind is what a key's value may look like in the file.
type Kind string

// Kinds of values. Sizes are written with a binary unit (KiB, MiB, GiB, TiB),
// durations as Go writes them (250ms, 2s, 1m30s).
const (
	Text     Kind = "text"
	Number   Kind = "number"
	Switch   Kind = "true or false"
	Duration Kind = "duration"
	Size     Kind = "size"
	Texts    Kind = "list of texts"
	section  Kind = "section"
	sections Kind = "list of sections"
)

// Key documents one key of the file. This table is the only place where a key's
// default stands: reading, `gemel config show --defaults` and
// docs/operating/configuration.md all use it.
type Key struct {
	Path    string // such as "timing.lease" or "volumes[].name"
	Kind    Kind
	Unit    string // of the value; empty when the kind says it all
	Default string // as written in the file; empty: none
	Text    string // what it does
}

// Keys lists every key in the order of the documentation.
func Keys() []Key { return keys }

var keys = []Key{
	{"cluster", Text, "", "", "Name of the cluster, in every certificate. Letters, digits and dashes. Required."},
	{"node", Text, "", "", "Name of this box: one of `nodes`, or the witness. The host name when not given."},

	{"nodes[].name", Text, "", "", "Name of a data node. Two nodes, in the same order on every box. Required."},
	{"nodes[].links[].name", Text, "", "", "Name of a way between the nodes; the same names in the same order on both. Most private first. Required."},
	{"nodes[].links[].address", Text, "IP address", "", "Address of the node on this link. Required."},
	{"nodes[].fence[].driver", Text, "", "", "How this node's power is cut by the other node: `redfish`, `ipmi` or `command`, tried in order. Or `watchdog`: this node's own, which resets it when its agent hangs; or `peer-reboot`: this node reboots itself when the other one asks. Those two prove nothing to the other one."},
	{"nodes[].fence[].address", Text, "URL or IP address", "", "The management controller: a URL for redfish, an IP address for ipmi."},
	{"nodes[].fence[].port", Number, "UDP port", "623", "Of an ipmi controller."},
	{"nodes[].fence[].user", Text, "", "", "Who may switch the power at the controller."},
	{"nodes[].fence[].password-file", Text, "file", "", "Its first line is the password. Only root should be able to read it."},
	{"nodes[].fence[].ca", Text, "file", "", "Certificates (PEM) that a redfish controller's must come from. The system's when not given."},
	{"nodes[].fence[].insecure", Switch, "", "false", "Take any certificate of a redfish controller."},
	{"nodes[].fence[].system", Text, "", "", "Which system to switch, where one redfish controller has several."},
	{"nodes[].fence[].command", Texts, "program and arguments", "", "Called with `status`, `off` or `on` as last argument; see docs/operating/fencing.md. Of peer-reboot: run as it is, instead of the kernel's order to restart at once."},
	{"nodes[].fence[].device", Text, "device", "/dev/watchdog", "Of a watchdog."},
	{"nodes[].fence[].timeout", Duration, "whole seconds", "0s", "Asked of a watchdog. 0s: as long as the lease allows, which is timing.lease less 2 %, less timing.renew, less 250ms, in whole seconds."},

	{"witness.name", Text, "", "witness", "Name of the box that runs `gemel witness`."},
	{"witness.address", Text, "IP address", "", "Address of the witness. Without it, and without `etcd`, there is no third voter: a node that loses its peer then cuts its power and goes on with the proof, or waits for an operator's word; see docs/operating/arbiters.md."},

	{"etcd.endpoints", Texts, "URLs", "", "Servers of an etcd cluster that votes instead of a witness; see docs/operating/arbiters.md."},
	{"etcd.user", Text, "", "", "Who speaks to etcd, where it wants to know."},
	{"etcd.password-file", Text, "file", "", "Its first line is the password."},
	{"etcd.ca", Text, "file", "", "Certificates (PEM) that etcd's must come from. The system's when not given."},
	{"etcd.cert", Text, "file", "", "Certificate (PEM) that this node shows to etcd."},
	{"etcd.key", Text, "file", "", "Its key."},

	{"keys", Text, "directory", "/etc/gemel/keys", "Holds ca.pem, cert.pem and key.pem of this box, as `gemel keys init` makes them."},
	{"state-dir", Text, "directory", "/var/lib/gemel", "What must survive a reboot: history of events, the witness's records."},
	{"undo-dir", Text, "directory", "", "Where a replica that was given up keeps what it loses, before it is overwritten. `undo` in state-dir when not given."},
	{"run-dir", Text, "directory", "/run/gemel", "Sockets of the daemons; emptied by a reboot."},
	{"device-dir", Text, "directory", "/dev/gemel", "Where the volumes' block devices appear, one link per volume."},

	{"ports.replication", Number, "TCP port", "7788", "Replicator to replicator."},
	{"ports.api", Number, "TCP port", "7789", "Agents, witness and remote commands."},

	{"timing.heartbeat", Duration, "", "250ms", "Time between heartbeats on each link. 50ms to 10s."},
	{"timing.minor-beats", Number, "beats", "3", "Heartbeats missed in a row on one link that make a minor failure."},
	{"timing.major", Duration, "", "2s", "Silence on all links that makes a MAJOR failure. At least 3 heartbeats."},
	{"timing.lease", Duration, "", "3s", "How long the voters wait for a silent Primary before they elect another. More than 2 renewals."},
	{"timing.renew", Duration, "", "500ms", "Time between renewals of the lease."},
	{"timing.boot-wait", Duration, "", "5s", "How long a starting node listens for its peer before it tries to become Primary alone."},
	{"timing.step-timeout", Duration, "", "30s", "Limit of each step of a fail-over: check, mount, address, services."},

	{"fencing.required", Switch, "", "false", "Take over only with a proof that the peer is off. Without it the vote suffices, and the proof is waited for no longer than `wait`."},
	{"fencing.wait", Duration, "", "3s", "How long a take-over that was won by vote waits for the proof before it goes on."},
	{"fencing.delay", Duration, "", "4s", "Without a third voter: how much longer than a Primary a Secondary waits before it cuts the power of a silent peer, so that two nodes that do not hear each other do not cut each other's. Longer than a device takes to carry an order out; 1s to 1m."},
	{"fencing.timeout", Duration, "", "20s", "Limit of one device, from the order to the proof."},
	{"fencing.restore", Switch, "", "true", "Switch the peer on again once it is proved to be off; not after the third time in an hour."},
	{"fencing.probe", Duration, "", "1m", "Time between looks at the devices, to know of a broken one before it is needed. 0: never."},
	{"fencing.stand-in", Duration, "", "10s", "How long the witness or etcd must be silent for both nodes before fencing decides in its place, until it answers again; needs devices that are fit on both nodes. 1s to 1h; 0: never. See docs/operating/arbiters.md."},

	{"drill.schedule", Text, "", "", "When every volume is switched over to see whether it works, in local time: days and time such as `sun 03:00`, `mon,thu 02:30` or `daily 04:00`. Skipped, with the reason in the history, while anything is amiss. Never when not given."},

	{"replication.links", Texts, "link names", "", "Links that carry block data, in the order to try them. All links when not given."},
	{"replication.peer-timeout", Duration, "", "1s", "Silence of the peer's replicator after which its connection is given up."},
	{"replication.path-timeout", Duration, "", "300ms", "Silence of the link in use after which the connection moves to another link that answers, without a break. 20ms to half of peer-timeout."},
	{"replication.return-after", Duration, "", "5s", "How long a better link must be well before the connection moves back to it; longer for one that keeps failing."},
	{"replication.encryption", Text, "", "tls", "tls, or plain: then whoever can reach the links can read and change the volumes. The same on both nodes."},
	{"replication.connect-interval", Duration, "", "500ms", "Time between attempts to connect."},
	{"replication.after-sb-0pri", Text, "policy", "disconnect", "What settles a split brain while neither node is Primary: disconnect (a human), discard-younger-primary, discard-older-primary, discard-zero-changes, discard-least-changes, discard-node-NAME."},
	{"replication.after-sb-1pri", Text, "policy", "disconnect", "And while one is: disconnect, consensus (the Secondary loses if after-sb-0pri says so too), discard-secondary."},
	{"replication.after-sb-2pri", Text, "policy", "disconnect", "And while both are: only disconnect, since one of them lets go by itself."},
	{"replication.resync-max-rate", Size, "bytes per second", "", "Upper limit of a resync, such as 50MiB. No limit when not given."},
	{"replication.resync-min-rate", Size, "bytes per second", "", "Below this a resync does not make way for the application any more, such as 10MiB. Without it a resync always makes way, and still goes on under any load."},
	{"replication.checksum-resync", Text, "", "auto", "Whether a resync compares checksums and sends only what differs: auto does after a crash and when a replica that had data gets everything anew, on always, off never."},

	{"volumes[].name", Text, "", "", "Name of a volume: a-z, 0-9 and dashes, up to 32 characters. Required."},
	{"volumes[].device", Text, "path", "", "Backing device or file on this node; all of it belongs to gemel. Required."},
	{"volumes[].metadata", Text, "path", "internal", "Where gemel keeps what it must remember of the volume: internal, at the end of the device, or a device or file of its own on this node, so that all of the device is data (1 MiB, and 32 MiB for each TiB of the device). It must be as safe as the device: without it the volume is filled anew."},
	{"volumes[].frontend", Text, "", "auto", "How the Primary shows the volume. auto: the first of the next ones that the kernel offers; ublk: /dev/ublkbN, needs Linux 6.5 and the module ublk_drv, and is kept while the replicator is restarted; nbd: /dev/nbdN, needs the module nbd; fuseloop: a loop device over FUSE, kept as well from Linux 6.9 on; nbd-socket: no device of the kernel, but an NBD server on a unix socket in device-dir, for programs that speak NBD (qemu-img, nbdcopy, fio)."},
	{"volumes[].disk-timeout", Duration, "", "20s", "How long the backing device may keep a request before it is given up and the peer takes over. 1s to 10m; 0 waits for ever."},
	{"volumes[].on-io-error", Text, "", "mend", "What an error of the backing device leads to: mend has the peer answer reads that fail and writes the blocks anew, and gives the device up when a write fails; detach gives it up for any error, if the peer has the data; pass-on tells the application (on a Secondary: the Primary) and keeps the device. See disks.md for each case."},
	{"volumes[].on-disk-failure", Text, "", "hand-over", "What a Primary does whose disk failed and whose requests the peer's disk serves: hand-over switches over as soon as the peer can serve; stay waits for an operator, with one copy and every request over the network."},
	{"volumes[].protocol", Text, "", "C", "How far a write must have come at the peer before it completes: C written there, B arrived there, A handed to the connection. Under A and B a take-over can lose writes that were not flushed; see protocols.md. `gemel volume protocol` changes it until the replicator restarts."},
	{"volumes[].on-congestion", Text, "", "block", "What a write does under protocol A when congestion-fill is on its way: block waits; pull-ahead goes on without the peer after 0.3 s, and resyncs what it lacks."},
	{"volumes[].congestion-fill", Size, "bytes", "16MiB", "How much may be on its way to the peer when a write completes under protocol A, and so how much a take-over can lose. 1MiB to 1GiB."},
	{"volumes[].takeover-under-a", Text, "", "refuse", "Whether a node takes over by itself when it may lack writes that were completed under protocol A: refuse waits for `gemel grab` or for the old Primary, allow does not."},
	{"volumes[].al-extents", Number, "extents of 4 MiB", "1237", "How much of the volume may be written without a note in the activity log first, and thus how much is resynced at most after a crash of the Primary. 67 to 65534."},
	{"volumes[].resync-after", Text, "volume", "", "Name of a volume whose resync comes first: this one's waits while that one runs."},
	{"volumes[].verify-schedule", Text, "", "", "When the Primary compares both disks by itself, in local time: days and time such as `sun 03:00`, `mon,thu 02:30` or `daily 04:00`. Never when not given."},
	{"volumes[].prefer", Text, "node", "", "Node on which the volume starts when both could, such as to spread volumes over both boxes. The first one of `nodes` when not given."},
	{"volumes[].failback", Text, "", "manual", "Whether a volume returns to the node named by prefer: manual leaves it where it is until `gemel switchover`; auto switches over when that node has been in sync and fit for a minute, unless the volume came back from there within ten."},
	{"volumes[].mount.path", Text, "directory", "", "Where the Primary mounts the file system. Nothing is mounted when not given."},
	{"volumes[].mount.type", Text, "", "ext4", "Type of the file system: ext4 or xfs."},
	{"volumes[].mount.options", Texts, "", "", "Options of the mount, such as noatime."},
	{"volumes[].mount.fsck", Text, "", "journal", "Check before mounting: journal replays the journal and checks only what is marked dirty; full reads everything, every time; never leaves it to the mount. A check that finds what it may not repair ends the take-over; see operations.md."},
	{"volumes[].mount.grow", Switch, "", "true", "When the volume became larger (gemel volume resize), make the file system as large as it, while it is in use."},
	{"volumes[].mount.format-if-new", Switch, "", "false", "Make the file system in the volume's first reign, if there is none."},
	{"volumes[].addresses[].address", Text, "IP address", "", "Address that moves with the volume, without prefix length. Required."},
	{"volumes[].addresses[].interface", Text, "", "", "Network interface that gets the address, the same name on both nodes. Required."},
	{"volumes[].addresses[].if-taken", Text, "", "refuse", "What a take-over does when a box that is not of the pair still answers for the address after some seconds: `refuse` ends the take-over and tries again later, `claim` takes the address all the same. See docs/operating/addresses.md."},
	{"volumes[].services[].name", Text, "", "", "Name of a service that runs where the volume is Primary. Required."},
	{"volumes[].services[].command", Texts, "", "", "Program and its arguments; it must stay in the foreground. Required, or unit."},
	{"volumes[].services[].unit", Text, "", "", "Unit of systemd, such as smbd.service, instead of a command: started, stopped and watched over D-Bus. It must not be enabled at boot; status warns if it is."},
	{"volumes[].services[].environment", Texts, "NAME=value", "", "Added to the environment of the service."},
	{"volumes[].services[].directory", Text, "directory", "", "Working directory of the service; the root directory when not given."},
	{"volumes[].services[].ready-tcp", Text, "host:port", "", "The service is ready when this answers. Ready at once when not given."},
	{"volumes[].services[].after", Texts, "names of services", "", "Services of this volume that must be ready before this one is started, and that are stopped after it. `[]`: none, it is started at once, beside others. The one before it in the file when not given."},
	{"volumes[].services[].start-wait", Duration, "", "20s", "How long the service may take to be ready. At most timing.step-timeout."},
	{"volumes[].services[].stop-wait", Duration, "", "5s", "How long the service may take to end after stop-signal, before SIGKILL. Less when services that end one after another share what timing.step-timeout leaves."},
	{"volumes[].services[].stop-signal", Text, "", "TERM", "Signal that asks the service to end: TERM, INT, QUIT, HUP, USR1, USR2 or WINCH. PostgreSQL wants INT, nginx QUIT."},
	{"volumes[].services[].health.tcp", Text, "host:port", "", "While the service runs, something must accept connections here. A service that does not answer is killed and started again, which counts as a restart; it is not ready before a look has succeeded."},
	{"volumes[].services[].health.command", Texts, "", "", "Program that must end with exit code 0 while the service is well. A look that takes too long is killed. With tcp, both count."},
	{"volumes[].services[].health.interval", Duration, "", "10s", "Time between looks. 100ms to 1h."},
	{"volumes[].services[].health.timeout", Duration, "", "5s", "Limit of one look. 100ms to 10m."},
	{"volumes[].services[].health.failures", Number, "times", "3", "Looks that fail in a row and mean that the service does not answer."},
	{"volumes[].services[].restarts", Number, "times", "3", "Restarts of a service that ends by itself or hangs, within restarts-in, before the volume moves to the peer. It does not move to a peer on which services failed as well: then it stays mounted, and what failed is tried again."},
	{"volumes[].services[].restarts-in", Duration, "", "5m", "Time over which restarts are counted."},
}
