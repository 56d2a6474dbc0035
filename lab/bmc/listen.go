package bmc

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"
)

// Files of a power control's identity: a certificate signed by itself, as controllers
// come with, and its key.
type Files struct{ Cert, Key string }

// certLife is the life of a certificate; a lab does not grow that old.
const certLife = 10 * 365 * 24 * time.Hour

// MakeCert makes a certificate for an address, unless there is one.
func MakeCert(files Files, name string, address netip.Addr) error {
	if _, err := os.Stat(files.Cert); err == nil {
		return nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("key of the power control of %s: %w", name, err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "power control of " + name},
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(certLife),
		IPAddresses: []net.IP{address.AsSlice()}, DNSNames: []string{name + "-bmc"},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return fmt.Errorf("certificate of the power control of %s: %w", name, err)
	}
	keyBytes, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("key of the power control of %s: %w", name, err)
	}
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyBytes})
	if err := os.WriteFile(files.Key, keyPEM, 0o600); err != nil {
		return fmt.Errorf("key of the power control of %s: %w", name, err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	if err := os.WriteFile(files.Cert, certPEM, 0o644); err != nil {
		return fmt.Errorf("certificate of the power control of %s: %w", name, err)
	}
	return nil
}

// Serve answers on a listener with TLS until ctx ends, and closes it.
func (s *Server) Serve(ctx context.Context, listener net.Listener, files Files) error {
	server := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second,
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	err := server.ServeTLS(listener, files.Cert, files.Key)
	s.Close()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("power control of %s: %w", s.config.Name, err)
}
