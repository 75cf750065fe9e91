package store_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"github.com/plimsoll-dev/plimsoll/store"
)

// authority signs certificates for tests.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.cert, a.key = a.issue(t, "ca", nil)
	return a
}

// issue writes NAME.pem and NAME.key; without a template it makes the
// authority itself.
func (a *authority) issue(t testing.TB, name string, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, signer := a.cert, a.key
	if template == nil {
		template = &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
		parent, signer = template, key
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.Subject = pkix.Name{CommonName: name}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(a.file(file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// secureMember is an etcd member that wants a client's certificate, a user and
// a password.
func secureMember(t testing.TB, a *authority) (endpoint string) {
	t.Helper()
	a.issue(t, "server", &x509.Certificate{
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	a.issue(t, "plimsoll", &x509.Certificate{
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	u, err := url.Parse(strings.Replace(freeURL(t), "http:", "https:", 1))
	if err != nil {
		t.Fatal(err)
	}
	cfg := embed.NewConfig()
	cfg.Dir = t.TempDir()
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	cfg.ListenPeerUrls = nil
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{*u}, []url.URL{*u}
	cfg.ClientTLSInfo = transport.TLSInfo{
		CertFile: a.file("server.pem"), KeyFile: a.file("server.key"), TrustedCAFile: a.file("ca.pem"), ClientCertAuth: true,
	}
	member, err := embed.StartEtcd(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(member.Close)
	await(t, member.Server.ReadyNotify(), "the member")
	client, err := store.NewExternalClient(store.ExternalOptions{
		Endpoints: []string{u.String()}, CAFile: a.file("ca.pem"), CertFile: a.file("plimsoll.pem"), KeyFile: a.file("plimsoll.key"), Logger: quiet(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	ctx := t.Context()
	for _, step := range []func() error{
		func() error { _, err := client.UserAdd(ctx, "root", "secret"); return err },
		func() error { _, err := client.RoleAdd(ctx, "root"); return err },
		func() error { _, err := client.UserGrantRole(ctx, "root", "root"); return err },
		func() error { _, err := client.AuthEnable(ctx); return err },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	return u.String()
}

func TestAnExternalClusterWithTLSAndAuthentication(t *testing.T) {
	a := newAuthority(t)
	endpoint := secureMember(t, a)
	good := store.ExternalOptions{
		Endpoints: []string{endpoint}, CAFile: a.file("ca.pem"), CertFile: a.file("plimsoll.pem"), KeyFile: a.file("plimsoll.key"),
		User: "root", Password: "secret", Logger: quiet(),
	}
	open := func(t *testing.T, opts store.ExternalOptions) *store.Store {
		s, err := store.Open(store.Options{
			Connect: func() (*clientv3.Client, error) { return store.NewExternalClient(opts) }, Logger: quiet(),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		return s
	}
	t.Run("reads and writes", func(t *testing.T) {
		s := open(t, good)
		await(t, s.Ready(), "the store")
		mustCreate(t, s, "f", boolFlag)
		verifyChain(t, s, "default")
	})
	t.Run("a wrong password is told", func(t *testing.T) {
		wrong := good
		wrong.Password = "guess"
		if _, err := store.NewExternalClient(wrong); err == nil || !strings.Contains(err.Error(), "authentication failed") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("another authority is not trusted", func(t *testing.T) {
		wrong := good
		wrong.CAFile = newAuthority(t).file("ca.pem")
		if _, err := store.NewExternalClient(wrong); err == nil {
			t.Error("connected")
		}
	})
}

func TestWrongOptionsForAClusterAreTold(t *testing.T) {
	a := newAuthority(t)
	https := []string{"https://127.0.0.1:1"}
	for _, tc := range []struct {
		name string
		opts store.ExternalOptions
		want string
	}{
		{"no endpoint", store.ExternalOptions{}, "no etcd endpoint"},
		{"not a URL", store.ExternalOptions{Endpoints: []string{"10.0.0.1:2379"}}, "https://10.0.0.1:2379"},
		{"certificates without TLS", store.ExternalOptions{Endpoints: []string{"http://127.0.0.1:1"}, CAFile: a.file("ca.pem")}, "https://"},
		{"a certificate without its key", store.ExternalOptions{Endpoints: https, CertFile: a.file("ca.pem")}, "its key"},
		{"a file that is not there", store.ExternalOptions{Endpoints: https, CAFile: a.file("nothing.pem")}, "nothing.pem"},
		{"a file without a certificate", store.ExternalOptions{Endpoints: https, CAFile: a.file("ca.key")}, "no PEM certificate"},
	} {
		if err := tc.opts.Check(); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
}
