package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"gemel/node/arbiter"
	"gemel/node/arbiter/ballot"
	"gemel/node/arbiter/etcd"
	"gemel/node/config"
)

// etcdVoter is the third voter in etcd.
type etcdVoter struct{ *etcd.Voter }

func (v etcdVoter) Votes(ctx context.Context, votes []ballot.Vote, answer ballot.Answer) error {
	return ballot.Cast(ctx, v.Voter, votes, ballot.NoCode, answer)
}

// Records returns the registers of volumes.
func (v etcdVoter) Records(ctx context.Context, volumes []string) (map[string]arbiter.Record, error) {
	all := map[string]arbiter.Record{}
	for _, volume := range volumes {
		r, err := v.Record(ctx, volume)
		if err != nil {
			return nil, err
		}
		all[volume] = r
	}
	return all, nil
}

// dialEtcd makes the voter; whether etcd answers is seen later, as with every voter.
func dialEtcd(cfg *config.Config) (*etcd.Voter, error) {
	e := cfg.Etcd
	conf := clientv3.Config{Endpoints: e.Endpoints, Username: e.User, Logger: zap.NewNop()}
	var err error
	if e.PasswordFile != "" {
		if conf.Password, err = firstLine(e.PasswordFile); err != nil {
			return nil, fmt.Errorf("etcd: read the password: %w", err)
		}
	}
	if conf.TLS, err = etcdTLS(e); err != nil {
		return nil, fmt.Errorf("etcd: %w", err)
	}
	return etcd.Open(conf, cfg.Cluster)
}

func etcdTLS(e config.Etcd) (*tls.Config, error) {
	if e.CA == "" && e.Cert == "" {
		return nil, nil //nolint:nilnil // the client's own: the system's certificates, or none for http
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if e.CA != "" {
		raw, err := os.ReadFile(e.CA)
		if err != nil {
			return nil, fmt.Errorf("read the certificates: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(raw) {
			return nil, fmt.Errorf("%s holds no certificate in PEM", e.CA)
		}
	}
	if e.Cert != "" {
		pair, err := tls.LoadX509KeyPair(e.Cert, e.Key)
		if err != nil {
			return nil, fmt.Errorf("read certificate and key: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}
