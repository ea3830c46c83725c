package skaldtest_test

import (
	"context"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/conform"
	"github.com/skald-go/skald/skaldtest"
)

func underTest(s *skaldtest.Store) conform.StoreUnderTest {
	return conform.StoreUnderTest{
		Store: s,
		Begin: func(ctx context.Context) (skald.Tx, func() error, func() error, error) {
			tx, err := s.BeginTx(ctx)
			if err != nil {
				return nil, nil, nil, err
			}
			return tx, tx.Commit, tx.Rollback, nil
		},
		Reopen: func(*testing.T) conform.StoreUnderTest { return underTest(s.Crash()) },
	}
}

func openStore(*testing.T) conform.StoreUnderTest { return underTest(skaldtest.NewStore()) }

func TestStoreConforms(t *testing.T)  { conform.TestStore(t, openStore) }
func TestSourceConforms(t *testing.T) { conform.TestSource(t, openStore) }

func TestBrokerConforms(t *testing.T) {
	for name, config := range map[string]skaldtest.BrokerConfig{
		"synced":       {},
		"synced later": {Partitions: 7, SyncInterval: 30 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			conform.TestBroker(t, func(*testing.T) conform.BrokerUnderTest {
				b := skaldtest.NewBroker(config)
				return conform.BrokerUnderTest{
					Broker:     b,
					Wipe:       func(*testing.T) { b.Wipe() },
					Restart:    func(*testing.T) { b.Restart() },
					PublishRaw: func(_ *testing.T, channel, key string, raw []byte) { b.PublishRaw(channel, key, raw) },
				}
			})
		})
	}
}
