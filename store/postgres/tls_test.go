package postgres_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/skald-go/skald/internal/servers"
	"github.com/skald-go/skald/skaldtest"
	"github.com/skald-go/skald/store/postgres"
)

// certificate makes a certificate for the address 127.0.0.1, which is its own authority, and its key.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "skald"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &private.PublicKey, private)
	must(t, err)
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	must(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}))
}

// secure has a server answer with a certificate, and returns the certificate's file. The server
// writes its files itself: it may run as another user.
func secure(t *testing.T, server *servers.Server) (file string) {
	t.Helper()
	cert, key := certificate(t)
	conn, err := pgx.Connect(t.Context(), server.URL())
	must(t, err)
	defer conn.Close(t.Context())
	var data string
	must(t, conn.QueryRow(t.Context(), "SHOW data_directory").Scan(&data))
	for name, text := range map[string]string{"server.crt": cert, "server.key": key} {
		path := filepath.Join(data, name)
		_, err := conn.Exec(t.Context(), fmt.Sprintf("COPY (SELECT unnest(string_to_array('%s', E'\\n'))) TO '%s'", text, path))
		must(t, err)
		must(t, os.Chmod(path, 0o600))
	}
	for _, query := range []string{"ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()"} {
		_, err := conn.Exec(t.Context(), query)
		must(t, err)
	}
	return written(t, cert)
}

func written(t *testing.T, text string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "certificate")
	must(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

// verifying is a server's URL with which it has to prove that it is the host.
func verifying(t *testing.T, server *servers.Server, host, authority string) string {
	t.Helper()
	address, err := url.Parse(server.URL())
	must(t, err)
	address.Host = net.JoinHostPort(host, address.Port())
	query := address.Query()
	query.Set("sslmode", "verify-full")
	query.Set("sslrootcert", authority)
	address.RawQuery = query.Encode()
	return address.String()
}

// Faults: 101.
func TestAServerOfTheWrongAuthorityOrHostIsNotTalkedTo(t *testing.T) {
	server := servers.StartPostgreSQL(t)
	authority := secure(t, server)
	another, _ := certificate(t)
	store := open(t, connect(t, verifying(t, server, "127.0.0.1", authority)), postgres.Config{})
	for name, c := range map[string]struct{ url, want string }{
		"authority": {verifying(t, server, "127.0.0.1", written(t, another)), "unknown authority"},
		"host":      {verifying(t, server, "localhost", authority), "certificate is not valid for any names"},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			_, err := postgres.Open(t.Context(), connect(t, c.url), postgres.Config{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Open returned %v", err)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("Open tried again for %s what cannot pass by itself", took)
			}
		})
	}
	// The connection for the log is as safe as the pool's.
	publishing(t, store, skaldtest.NewBroker(skaldtest.BrokerConfig{}))
	eventually(t, "a reader of the log", func() bool { return slotOf(t, store).Active })
	if !read[bool](t, store, "SELECT ssl FROM pg_stat_ssl JOIN pg_replication_slots ON active_pid = pid") {
		t.Error("the log is read without TLS")
	}
}
