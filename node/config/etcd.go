package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Etcd is a third voter that lives in an etcd cluster; without Endpoints there is none.
type Etcd struct {
	Endpoints    []string `mapstructure:"endpoints"` // "https://192.0.2.21:2379"
	User         string   `mapstructure:"user"`
	PasswordFile string   `mapstructure:"password-file"` // its first line
	CA           string   `mapstructure:"ca"`            // PEM files
	Cert         string   `mapstructure:"cert"`
	Key          string   `mapstructure:"key"`
}

// EtcdName is what the third voter is called when it is etcd.
const EtcdName = "etcd"

// HasEtcd reports whether the third voter lives in etcd.
func (c *Config) HasEtcd() bool { return len(c.Etcd.Endpoints) > 0 }

// HasArbiter reports whether there is a third voter, of whatever kind.
func (c *Config) HasArbiter() bool { return c.HasWitness() || c.HasEtcd() }

// ArbiterName is what the third voter is called; empty when there is none.
func (c *Config) ArbiterName() string {
	switch {
	case c.HasWitness():
		return c.Witness.Name
	case c.HasEtcd():
		return EtcdName
	}
	return ""
}

// Arbiter describes the third voter in a way that differs between any two: a witness
// by its name, which its certificate carries, an etcd by its servers. Empty: none.
func (c *Config) Arbiter() string {
	switch {
	case c.HasWitness():
		return "witness " + c.Witness.Name
	case c.HasEtcd():
		servers := slices.Clone(c.Etcd.Endpoints)
		slices.Sort(servers)
		return "etcd " + strings.Join(servers, " ")
	}
	return ""
}

func checkEtcd(c *Config, r *reader) {
	e := c.Etcd
	if !c.HasEtcd() {
		return
	}
	if c.HasWitness() {
		r.mistake("etcd.endpoints", "there is a witness too; a pair has one third voter: leave out witness or etcd")
	}
	for i, at := range e.Endpoints {
		u, err := url.Parse(at)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			r.mistake(fmt.Sprintf("etcd.endpoints[%d]", i), "%q is not an etcd; write it like https://192.0.2.21:2379", at)
		}
	}
	r.absolute("etcd.password-file", e.PasswordFile)
	r.absolute("etcd.ca", e.CA)
	r.absolute("etcd.cert", e.Cert)
	r.absolute("etcd.key", e.Key)
	if (e.Cert == "") != (e.Key == "") {
		r.mistake("etcd.cert", "cert and key belong together; give both or none")
	}
}
