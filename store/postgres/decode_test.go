package postgres

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/skald-go/skald/internal/servers"
)

var record = flag.Bool("record", false, "write what a real server sends as FuzzDecode's corpus")

// recording has the server write everything that a publication may bring.
const recording = `
CREATE TYPE mood AS ENUM ('fair', 'foul');
CREATE TABLE another (id integer PRIMARY KEY, mood mood, text text);
CREATE TABLE skald_outbox (seq bigint, xid xid8 DEFAULT pg_current_xact_id(), added_at timestamptz DEFAULT clock_timestamp(), message bytea);
CREATE PUBLICATION everything FOR ALL TABLES;
SELECT pg_create_logical_replication_slot('%[1]s', 'pgoutput');
INSERT INTO skald_outbox (seq, message) VALUES (1, 'one'), (2, 'two');
INSERT INTO another VALUES (1, 'fair', 'a'), (2, NULL, NULL);
UPDATE another SET id = 3, text = 'b' WHERE id = 1;
DELETE FROM another WHERE id = 2;
TRUNCATE another, skald_outbox;
SELECT pg_logical_emit_message(true, 'skald', 'three');
SELECT pg_logical_emit_message(false, 'skald', 'alone');
SELECT pg_logical_emit_message(true, 'another', 'four');
SELECT pg_replication_origin_create('%[1]s');
SELECT pg_replication_origin_session_setup('%[1]s');
INSERT INTO skald_outbox (seq, message) VALUES (5, '');
SELECT pg_replication_origin_session_reset();
SELECT pg_replication_origin_drop('%[1]s');`

// recorded are the messages that a real server sends.
func recorded(t *testing.T) [][]byte {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), servers.Database(t, servers.PostgreSQL(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	slot := "recorded_" + conn.Config().Database
	for _, statement := range bytes.SplitAfter(fmt.Appendf(nil, recording, slot), []byte(";")) {
		if _, err := conn.Exec(t.Context(), string(statement)); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	rows, err := conn.Query(t.Context(), "SELECT data FROM pg_logical_slot_get_binary_changes($1, NULL, NULL, 'proto_version', '1', 'publication_names', 'everything', 'binary', 'true', 'messages', 'true')", slot)
	if err != nil {
		t.Fatal(err)
	}
	messages, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		t.Fatal(err)
	}
	return messages
}

// Rows of another table than the outbox's are none that the publication has: they are refused.
func TestEveryMessageOfARealServerIsUnderstood(t *testing.T) {
	messages := recorded(t)
	var types, found []byte
	var carried []string
	var d decoder
	for _, m := range messages {
		if !bytes.Contains(types, m[:1]) {
			types = append(types, m[0])
		}
		c, err := d.decode(m)
		if another := m[0] == 'I' && m[7] == 3; (err != nil) != another { // by the number of columns
			t.Errorf("%q: %v", m, err)
		}
		if c.kind == messageChange && len(c.message) < 10 {
			found, carried = append(found, m[0]), append(carried, string(c.message))
		}
		if *record {
			keep(t, messages, m)
		}
	}
	for _, kind := range "BCRIUDTMOY" {
		if !bytes.ContainsRune(types, kind) {
			t.Errorf("no message of type %c was sent", kind)
		}
	}
	if string(found) != "IIMI" || !reflect.DeepEqual(carried, []string{"one", "two", "three", ""}) {
		t.Errorf("the messages are %q %q", found, carried)
	}
}

// keep writes a message to the corpus, behind the relation that it is about, or any.
func keep(t *testing.T, messages [][]byte, m []byte) {
	t.Helper()
	relation := []byte(nil)
	for _, r := range messages {
		if r[0] == 'R' && (relation == nil || len(m) > 5 && bytes.Equal(r[1:5], m[1:5])) {
			relation = r
		}
	}
	dir := filepath.Join("testdata", "fuzz", "FuzzDecode")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	names, _ := filepath.Glob(filepath.Join(dir, string(m[:1])+"*"))
	name := filepath.Join(dir, fmt.Sprintf("%c%d", m[0], len(names)+1))
	if err := os.WriteFile(name, fmt.Appendf(nil, "go test fuzz v1\n[]byte(%q)\n[]byte(%q)\n", relation, m), 0o600); err != nil {
		t.Fatal(err)
	}
}

// FuzzDecode's corpus is what a real server sent: go test -run TestEveryMessage -record writes it, into
// an empty folder.
func FuzzDecode(f *testing.F) {
	relation := "R\x00\x00\x00\x01public\x00skald_outbox\x00d\x00\x01\x00message\x00\x00\x00\x00\x11\xff\xff\xff\xff"
	for _, data := range []string{
		"", "?", "I\x00\x00\x00\x01N\x00\x01t\x00\x00\x00\x01x", // a value as text
		"I\x00\x00\x00\x01N\x00\x01b\x7f\xff\xff\xffx", "R\x00\x00\x00\x02p\x00t\x00d\xff\xff\x00a", // longer than they are
	} {
		f.Add([]byte(relation), []byte(data))
	}
	f.Fuzz(func(t *testing.T, relation, data []byte) {
		var d decoder
		if _, err := d.decode(relation); err != nil && !errors.Is(err, errProtocol) {
			t.Errorf("the error is %v", err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		c, err := d.decode(data)
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 1<<16+uint64(16*len(data)) {
			t.Errorf("%d bytes were allocated for a message of %d", took, len(data))
		}
		again, errAgain := d.decode(data)
		switch {
		case err != nil && !errors.Is(err, errProtocol):
			t.Errorf("the error is %v", err)
		case !reflect.DeepEqual(c, again) || (err == nil) != (errAgain == nil):
			t.Errorf("decoded twice it is %v, %v and %v, %v", c, err, again, errAgain)
		case err != nil && c.kind != otherChange:
			t.Errorf("with the error %v comes a change", err)
		case len(c.message) > 0 && !bytes.Contains(data, c.message):
			t.Error("the message is not from what was decoded")
		}
		for n := 0; n < len(data); n += 1 + len(data)/64 {
			if _, err := d.decode(data[:n]); err != nil && !errors.Is(err, errProtocol) {
				t.Errorf("cut short after %d bytes: %v", n, err)
			}
		}
	})
}
