package store

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// ExternalOptions say how to reach an etcd cluster.
type ExternalOptions struct {
	// Endpoints are the members' client URLs.
	Endpoints []string
	// CAFile, CertFile and KeyFile are PEM files: the authority that signed the
	// members' certificates (empty: the system's), and the certificate that
	// this server shows (empty: none).
	CAFile, CertFile, KeyFile string
	// User and Password authenticate this server; empty: not.
	User, Password string
	// Logger gets the client's warnings; default: slog.Default.
	Logger *slog.Logger
}

// loginTimeout bounds the login with user and password: etcd hashes passwords
// slowly, on purpose.
const loginTimeout = 20 * time.Second

// NewExternalClient makes a client of an etcd cluster, which the caller closes.
// Without a user it does not wait for a connection; with one it logs in, and
// fails if the cluster is down.
func NewExternalClient(opts ExternalOptions) (*clientv3.Client, error) {
	cfg, err := opts.config()
	if err != nil {
		return nil, err
	}
	client, err := clientv3.New(cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to etcd: %w", err)
	}
	return client, nil
}

func (o ExternalOptions) config() (clientv3.Config, error) {
	if len(o.Endpoints) == 0 {
		return clientv3.Config{}, errors.New("no etcd endpoint")
	}
	secure := false
	for _, ep := range o.Endpoints {
		u, err := url.Parse(ep)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return clientv3.Config{}, fmt.Errorf("etcd endpoint %q is not a URL such as https://10.0.0.1:2379", ep)
		}
		secure = secure || u.Scheme == "https"
	}
	log := o.Logger
	if log == nil {
		log = slog.Default()
	}
	tlsCfg, err := o.tls(secure)
	if err != nil {
		return clientv3.Config{}, err
	}
	return clientv3.Config{
		Endpoints:            o.Endpoints,
		Username:             o.User,
		Password:             o.Password,
		TLS:                  tlsCfg,
		DialTimeout:          loginTimeout,
		DialKeepAliveTime:    5 * time.Second,
		DialKeepAliveTimeout: 5 * time.Second,
		Logger:               zapToSlog(log, new(atomic.Bool)),
	}, nil
}

func (o ExternalOptions) tls(secure bool) (*tls.Config, error) {
	if !secure {
		if o.CAFile != "" || o.CertFile != "" || o.KeyFile != "" {
			return nil, errors.New("certificates for etcd were given, but no endpoint begins with https://")
		}
		return nil, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read etcd's authority: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no PEM certificate", o.CAFile)
		}
	}
	if (o.CertFile == "") != (o.KeyFile == "") {
		return nil, errors.New("a certificate for etcd needs its key, and a key its certificate")
	}
	if o.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("read the certificate for etcd: %w", err)
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	return cfg, nil
}

// Check finds what is wrong with the options without connecting.
func (o ExternalOptions) Check() error {
	_, err := o.config()
	return err
}
