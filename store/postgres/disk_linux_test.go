package postgres_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/internal/servers"
	"github.com/skald-go/skald/store/postgres"
)

// smallDisk returns a folder of the server's on a disk of its own that can be made full and empty
// again; false where this process may not mount one.
func smallDisk(t *testing.T, server *servers.Server) (folder string, fill, empty func(), ok bool) {
	t.Helper()
	folder = filepath.Join(server.Dir(), "small")
	must(t, os.Mkdir(folder, 0o700))
	if err := syscall.Mount("tmpfs", folder, "tmpfs", 0, "size=64m"); err != nil {
		t.Logf("no disk of its own can be mounted (%v)", err)
		return "", nil, nil, false
	}
	t.Cleanup(func() { must(t, syscall.Unmount(folder, syscall.MNT_DETACH)) })
	info, err := os.Stat(server.Dir())
	must(t, err)
	owner := info.Sys().(*syscall.Stat_t)
	must(t, os.Chown(folder, int(owner.Uid), int(owner.Gid)))
	ballast := filepath.Join(folder, "ballast")
	fill = func() {
		f, err := os.Create(ballast)
		for block := make([]byte, 4096); err == nil; {
			_, err = f.Write(block)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		must(t, f.Close())
	}
	return folder, fill, func() { must(t, os.Remove(ballast)) }, true
}

// The log is on a disk that has room: when that has none the server stops, as after a crash.
//
// Faults: 50.
func TestAFullDiskFailsTheBatchAndLeavesWhatWasCommitted(t *testing.T) {
	t.Parallel()
	server := servers.StartPostgreSQL(t)
	folder, fill, empty, ok := smallDisk(t, server)
	if !ok {
		return
	}
	address := servers.Database(t, server.URL())
	admin, err := pgx.Connect(t.Context(), server.URL())
	must(t, err)
	defer admin.Close(t.Context())
	_, err = admin.Exec(t.Context(), "CREATE TABLESPACE small LOCATION '"+folder+"'")
	must(t, err)
	name := address[strings.LastIndex(address, "/")+1 : strings.Index(address, "?")]
	_, err = admin.Exec(t.Context(), "ALTER DATABASE "+name+" SET TABLESPACE small")
	must(t, err)
	store := open(t, connect(t, address), postgres.Config{})
	r := reads(t, store)
	r.tail()
	var committed []skald.Message
	addBatch := func() error {
		list := messages(50, "k")
		b := begin(t, store)
		err := store.AddMessages(t.Context(), b.Tx(), list)
		if err == nil {
			err = b.Commit(t.Context())
		}
		must(t, b.Rollback())
		if err == nil {
			committed = append(committed, list...)
		}
		return err
	}
	must(t, addBatch())
	fill()
	var full error
	for n := 0; full == nil && n < 100; n++ {
		full = addBatch()
	}
	if full == nil || !store.Retryable(full) || !strings.Contains(full.Error(), "53100") {
		t.Errorf("a full disk: %v", full)
	}
	if err := addBatch(); err == nil {
		t.Error("the disk is full, and a batch was committed")
	}
	empty()
	must(t, addBatch())
	r.settle(r.takes(committed...))
	last := messages(1, "k")
	add(t, store, last...)
	r.takes(last...)
	if n := count(t, store, "skald_outbox WHERE key = 'k'"); n != len(committed)+1 {
		t.Errorf("%d messages are in the outbox, and %d were committed", n, len(committed)+1)
	}
}
