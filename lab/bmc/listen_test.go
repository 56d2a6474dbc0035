package bmc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestServeWithItsOwnCertificate(t *testing.T) {
	dir := t.TempDir()
	files := Files{Cert: filepath.Join(dir, "a.pem"), Key: filepath.Join(dir, "a.key")}
	for range 2 { // the second time it is there already
		if err := MakeCert(files, "server1", netip.MustParseAddr("127.0.0.1")); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := os.ReadFile(files.Cert)
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	if !trusted.AppendCertsFromPEM(cert) {
		t.Fatal("no certificate in the file")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- New(Config{Name: "server1", Machine: &box{}}).Serve(ctx, listener, files) }()
	client := &http.Client{Timeout: 20 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12}}}
	response, err := client.Get("https://" + listener.Addr().String() + rootPath)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("the root answers %s", response.Status)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
