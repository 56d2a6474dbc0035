package agent

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gemel/node/arbiter"
	"gemel/node/arbiter/ballot"
	"gemel/node/arbiter/etcd"
	"gemel/node/config"
)

func TestEtcdThatDoesNotAnswerIsNoVote(t *testing.T) {
	client, err := dialEtcd(&config.Config{Etcd: config.Etcd{Endpoints: []string{"http://127.0.0.1:1"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	v := etcdVoter{etcd.New(client, "lab")}
	votes := []ballot.Vote{{Renew: &arbiter.RenewRequest{Volume: "data", Epoch: 2, Term: time.Second}}}
	granted := false
	err = v.Votes(ctx, votes, func(_ int, r ballot.Reply) { granted = r.Failure == nil })
	if granted || err == nil && v.Ping(ctx) == nil {
		t.Errorf("nobody granted a lease: %v", err)
	}
}

func TestDialEtcdNamesWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.pem")
	if err := os.WriteFile(bad, []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		etcd config.Etcd
		says string
	}{
		"password": {config.Etcd{PasswordFile: dir + "/none"}, "read the password"},
		"no CA":    {config.Etcd{CA: dir + "/none"}, "read the certificates"},
		"bad CA":   {config.Etcd{CA: bad}, "no certificate in PEM"},
		"bad pair": {config.Etcd{Cert: bad, Key: bad}, "read certificate and key"},
	} {
		c.etcd.Endpoints = []string{"https://127.0.0.1:1"}
		if _, err := dialEtcd(&config.Config{Etcd: c.etcd}); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
