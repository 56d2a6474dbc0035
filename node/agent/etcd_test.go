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
	"gemel/node/config"
)

func TestEtcdThatDoesNotAnswerIsNoVote(t *testing.T) {
	voter, err := dialEtcd(&config.Config{Etcd: config.Etcd{Endpoints: []string{"http://127.0.0.1:1"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = voter.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	v := etcdVoter{voter}
	votes := []ballot.Vote{{Renew: &arbiter.RenewRequest{Volume: "data", Epoch: 2, Term: time.Second}}}
	granted := false
	err = v.Votes(ctx, votes, func(_ int, r ballot.Reply) { granted = r.Failure == nil })
	if granted || err == nil && v.Ping(ctx) == nil {
		t.Errorf("nobody granted a lease: %v", err)
	}
}

// TestASlowEtcdHasTimeToVote: its servers agree on each of a vote's two requests.
func TestASlowEtcdHasTimeToVote(t *testing.T) {
	if w := thirdWaits(etcdVoter{}); w.prepare < 2*boxWaits.prepare || w.renew < 2*boxWaits.renew || w.accept < 2*boxWaits.accept {
		t.Errorf("etcd has %+v, a box %+v", w, boxWaits)
	}
	if w := thirdWaits(witnessClient{}); w != boxWaits {
		t.Errorf("a witness has %+v", w)
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
