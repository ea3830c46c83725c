package nats

import (
	"strings"
	"testing"
	"time"
)

func TestSecretsInAddressesStayOutOfErrors(t *testing.T) {
	for given, want := range map[string]string{
		"nats://secret@a:1,nats://user:secret@b:2": "nats://a:1,nats://b:2", "nats://a:1": "nats://a:1", "secret@a:1": "nats://a:1", "tls://u:secret@@a": "tls://a",
	} {
		if got := withoutSecrets(given); got != want {
			t.Errorf("%s becomes %s", given, got)
		}
	}
	if err := (Config{URL: "nats://secret@host:port"}).withDefaults().validate(); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("the error is %v", err)
	}
}

func TestWhatCannotWorkIsRefused(t *testing.T) {
	if err := (Config{}).withDefaults().validate(); err != nil {
		t.Errorf("the zero value: %v", err)
	}
	for name, cfg := range map[string]Config{
		"partitions": {Partitions: -1}, "too many partitions": {Partitions: 1025}, "sync interval": {SyncInterval: -2}, "replicas": {Replicas: 6},
		"age": {MaxAge: time.Second}, "bytes": {MaxBytes: 1}, "trim interval": {TrimInterval: 1},
	} {
		if err := cfg.withDefaults().validate(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestACheckpointStaysBehindByMoreThanTheSyncInterval(t *testing.T) {
	for _, interval := range []time.Duration{time.Millisecond, time.Second, 2 * time.Minute} {
		if settle := (Config{SyncInterval: interval}).settle(); settle <= interval {
			t.Errorf("settles in %s, synced every %s", settle, interval)
		}
	}
	if settle := (Config{SyncInterval: SyncedAlways}).settle(); settle != 0 {
		t.Errorf("with every write synced it settles in %s", settle)
	}
}
