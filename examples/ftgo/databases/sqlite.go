package databases

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/skald-go/skald/examples/ftgo/host"
	"github.com/skald-go/skald/store/sqlite"
)

// SQLite is a folder with a file for each service.
type SQLite string

var _ Databases = SQLite("")

func (folder SQLite) path(service string) string {
	return filepath.Join(string(folder), service+".db")
}

// Open implements [Databases].
func (folder SQLite) Open(ctx context.Context, service string, _ *slog.Logger) (*Database, error) {
	store, err := sqlite.Open(ctx, folder.path(service), sqlite.Config{})
	if err != nil {
		return nil, err
	}
	return &Database{Store: store, DB: store.DB(), Dialect: host.SQLite, close: store.Close}, nil
}

// Read implements [Databases].
func (folder SQLite) Read(_ context.Context, service string) (*sql.DB, error) {
	path := folder.path(service)
	switch _, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, ErrAbsent
	case err != nil:
		return nil, err
	}
	return sql.Open("sqlite", "file:"+(&url.URL{Path: filepath.ToSlash(path)}).EscapedPath()+"?mode=ro&_pragma=busy_timeout(10000)")
}

// String implements [Databases].
func (folder SQLite) String() string { return "the folder " + string(folder) }
