package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gemel/node/config"
	"gemel/node/identity"
	"gemel/node/identity/pairing"
)

const pairHelp = `Gives the boxes of a cluster their keys. Run it on all of them: the first node of the
configuration keeps the authority and waits for the others, which come to it. For each, both boxes show six words;
compare them, and say yes on both. Private keys never leave their box.

An administrator's box, one whose name is neither a node's nor the witness's, joins when the first node was told
its name with --client. The configuration must be on every box before.

Exit codes: 0 this box has its keys (the first node: all boxes came), 1 failed, 3 refused: there are keys already, or
the words were not confirmed, 4 nobody answers.`

// pairing's own flags.
type pairFlags struct {
	port      int
	authority string
	clients   []string
	wait      time.Duration
	force     bool
}

func (a *app) pairCommand() *cobra.Command {
	var f pairFlags
	c := &cobra.Command{Use: "pair", Short: "Give the boxes their keys by comparing six words", Long: pairHelp, Args: cobra.NoArgs,
		Example: "  gemel pair\n  gemel pair --client desk --wait 30m",
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.pair(cmd.Context(), f) }}
	flags := c.Flags()
	flags.IntVar(&f.port, "port", 7787, "TCP port of the first node while it waits")
	flags.StringVar(&f.authority, "authority", "", "directory of the authority, on the first node (default: authority in the keys' directory)")
	flags.StringArrayVar(&f.clients, "client", nil, "on the first node: also admit an administrator's box of this name; may be given often")
	flags.DurationVar(&f.wait, "wait", 10*time.Minute, "give up after this")
	flags.BoolVar(&f.force, "force", false, "replace the keys of this box; those who have the old authority's keys lock it out")
	return c
}

func (a *app) pair(ctx context.Context, f pairFlags) error {
	cfg, err := a.load()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, f.wait)
	defer cancel()
	if cfg.SelfIndex() == 0 {
		err = a.pairHost(ctx, cfg, f)
	} else {
		err = a.pairJoin(ctx, cfg, f)
	}
	if errors.Is(err, identity.ErrExists) || errors.Is(err, pairing.ErrMismatch) || errors.Is(err, pairing.ErrRefused) {
		return &exitError{ExitRefused, err}
	}
	return err
}

// self is who this box is by its configuration.
func self(cfg *config.Config) identity.Peer {
	p := identity.Peer{Cluster: cfg.Cluster, Role: identity.RoleAdmin, Name: cfg.Node}
	switch {
	case cfg.SelfIndex() >= 0:
		p.Role = identity.RoleNode
	case cfg.IsWitness():
		p.Role = identity.RoleWitness
	}
	return p
}

// pairHost admits every box of the configuration and every named client.
func (a *app) pairHost(ctx context.Context, cfg *config.Config, f pairFlags) error {
	authority, err := a.openAuthority(cfg, &f)
	if err != nil {
		return err
	}
	missing := expected(cfg, f.clients)
	in := bufio.NewReader(a.In)
	host := &pairing.Host{Self: self(cfg), Authority: authority, Confirm: a.confirmWords(in),
		Expect: func(p identity.Peer) error {
			if !missing[p] {
				return fmt.Errorf("%s is not waited for: not in the configuration of %s, or admitted already; for a client give --client %s there",
					p, cfg.Node, p.Name)
			}
			return nil
		}}
	var l net.ListenConfig
	listener, err := l.Listen(ctx, "tcp", ":"+strconv.Itoa(f.port))
	if err != nil {
		return fmt.Errorf("wait for the other boxes: %w; another gemel pair runs here, or give --port on all boxes", err)
	}
	a.printf("Waiting on port %d for %s. Run `gemel pair` there.\n", f.port, names(missing))
	err = host.Serve(ctx, listener, func(p identity.Peer) bool {
		delete(missing, p)
		a.printf("%s has its keys.\n", p)
		return len(missing) == 0
	}, func(err error) { a.printf("Not paired: %v\n", err) })
	if err != nil {
		return fmt.Errorf("still without keys: %s: %w", names(missing), err)
	}
	a.printf("All boxes have their keys. The authority in %s can make more: keep a copy elsewhere, readable by nobody else.\n", f.authority)
	return nil
}

// openAuthority finds or makes the authority, and this box's own keys.
func (a *app) openAuthority(cfg *config.Config, f *pairFlags) (*identity.Authority, error) {
	if f.authority == "" {
		f.authority = filepath.Join(cfg.Keys, "authority")
	}
	authority, made, err := identity.OpenAuthority(f.authority, cfg.Cluster)
	if err != nil {
		return nil, err
	}
	if made {
		a.printf("Made the authority of cluster %s in %s.\n", cfg.Cluster, f.authority)
	}
	id, err := identity.Load(cfg.Keys)
	if err == nil && !f.force {
		if !id.SignedBy(authority) {
			return nil, fmt.Errorf("%s holds keys of another authority: %w; give its directory with --authority, or replace them with --force",
				cfg.Keys, identity.ErrExists)
		}
		return authority, id.Check(cfg.Cluster, identity.RoleNode, cfg.Node)
	}
	key, err := identity.NewKey()
	if err != nil {
		return nil, err
	}
	cert, err := authority.Issue(self(cfg), key.Public())
	if err != nil {
		return nil, err
	}
	return authority, identity.Install(cfg.Keys, self(cfg), authority.Certificate(), cert, key, f.force)
}

// expected are the boxes that need keys, the first node aside.
func expected(cfg *config.Config, clients []string) map[identity.Peer]bool {
	all := map[identity.Peer]bool{{Cluster: cfg.Cluster, Role: identity.RoleNode, Name: cfg.Nodes[1].Name}: true}
	if cfg.HasWitness() {
		all[identity.Peer{Cluster: cfg.Cluster, Role: identity.RoleWitness, Name: cfg.Witness.Name}] = true
	}
	for _, c := range clients {
		all[identity.Peer{Cluster: cfg.Cluster, Role: identity.RoleAdmin, Name: c}] = true
	}
	return all
}

func names(peers map[identity.Peer]bool) string {
	var all []string
	for _, role := range []string{identity.RoleNode, identity.RoleWitness, identity.RoleAdmin} {
		for p := range peers {
			if p.Role == role {
				all = append(all, p.String())
			}
		}
	}
	return strings.Join(all, ", ")
}

// pairJoin gets this box's keys from the first node.
func (a *app) pairJoin(ctx context.Context, cfg *config.Config, f pairFlags) error {
	if !f.force {
		if err := identity.Vacant(cfg.Keys); err != nil {
			return err
		}
	}
	conn, err := a.callHost(ctx, cfg, f.port)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	err = pairing.Join(ctx, conn, self(cfg), a.confirmWords(bufio.NewReader(a.In)), func(g pairing.Granted) error {
		return identity.Install(cfg.Keys, self(cfg), g.Authority, g.Certificate, g.Key, f.force)
	})
	if err != nil {
		return err
	}
	a.printf("%s has its keys, in %s.\n", self(cfg), cfg.Keys)
	return nil
}

// callHost calls the first node on its links in turn until it answers.
func (a *app) callHost(ctx context.Context, cfg *config.Config, port int) (net.Conn, error) {
	host := &cfg.Nodes[0]
	a.printf("Calling %s. Run `gemel pair` there.\n", host.Name)
	d := net.Dialer{Timeout: 2 * time.Second}
	for {
		var last error
		for _, link := range host.Links {
			conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(link.Address, strconv.Itoa(port)))
			if err == nil {
				return conn, nil
			}
			last = err
		}
		select {
		case <-ctx.Done():
			return nil, &exitError{ExitUnreachable, fmt.Errorf("%s does not answer on port %d (%w); run `gemel pair` there, and look at cables and firewall",
				host.Name, port, last)}
		case <-time.After(time.Second):
		}
	}
}

// confirmWords shows the words and reads a yes or no.
func (a *app) confirmWords(in *bufio.Reader) pairing.Confirm {
	return func(ctx context.Context, other identity.Peer, words [pairing.Words]string) (bool, error) {
		a.printf("\n%s and this box show six words:\n\n    %s\n\nDoes %s show the same, in the same order? [yes/no] ",
			other, strings.Join(words[:], "  "), other.Name)
		type line struct {
			text string
			err  error
		}
		read := make(chan line, 1)
		go func() { // a terminal cannot be asked to stop: it ends with the program
			text, err := in.ReadString('\n')
			read <- line{text, err}
		}()
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case l := <-read:
			a.printf("\n")
			answer := strings.ToLower(strings.TrimSpace(l.text))
			if answer == "" && l.err != nil {
				return false, fmt.Errorf("nobody answered here: %w", l.err)
			}
			return answer == "yes" || answer == "y", nil
		}
	}
}
