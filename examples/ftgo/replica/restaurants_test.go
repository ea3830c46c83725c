package replica

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/api/restaurantapi"
	"github.com/skald-go/skald/examples/ftgo/host"
	"github.com/skald-go/skald/examples/ftgo/hosttest"
	"github.com/skald-go/skald/skaldtest"
)

func openReplica(t *testing.T, on hosttest.Store) (*Restaurants, host.Host) {
	t.Helper()
	h := hosttest.New(t, on, "order", skaldtest.NewBroker(skaldtest.BrokerConfig{}))
	r, err := OpenRestaurants(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	return r, h
}

func menu(version int, items ...string) restaurantapi.Restaurant {
	r := restaurantapi.Restaurant{ID: "r", Version: version, Name: "Ajanta", Zones: []string{"north"}}
	for _, id := range items {
		r.Menu = append(r.Menu, restaurantapi.MenuItem{ID: id, Name: id, Price: 100})
	}
	return r
}

func TestTheNewestVersionStaysWhateverTheOrderOfEvents(t *testing.T) {
	hosttest.OnEachStore(t, theNewestVersionStaysWhateverTheOrderOfEvents)
}

func theNewestVersionStaysWhateverTheOrderOfEvents(t *testing.T, on hosttest.Store) {
	t.Helper()
	replica, h := openReplica(t, on)
	if _, ok, err := replica.Await(t.Context(), "r", 0); ok || err != nil {
		t.Fatalf("an empty replica has it: %t, %v", ok, err)
	}
	for _, step := range []struct {
		told restaurantapi.Restaurant
		want int
	}{{menu(1, "soup"), 1}, {menu(3, "pie"), 3}, {menu(2, "skyr"), 3}, {menu(3, "pie"), 3}} {
		err := hosttest.InTx(t, h, func(ctx context.Context, tx *sql.Tx) error {
			return replica.replicate(ctx, tx, step.told)
		})
		if err != nil {
			t.Fatal(err)
		}
		got, ok, err := replica.Await(t.Context(), "r", 0)
		if err != nil || !ok || got.Version != step.want {
			t.Fatalf("after version %d: %+v, %t, %v", step.told.Version, got, ok, err)
		}
	}
	got, _, _ := replica.Await(t.Context(), "r", 0)
	if _, ok := got.Item("pie"); !ok || !got.DeliversTo("north") || got.DeliversTo("south") {
		t.Errorf("got %+v", got)
	}
	if _, ok := got.Item("soup"); ok {
		t.Error("the old menu is still served")
	}
}

func TestATransactionSeesItsOwnVersionAndOthersTheCommittedOne(t *testing.T) {
	hosttest.OnEachStore(t, aTransactionSeesItsOwnVersionAndOthersTheCommittedOne)
}

func aTransactionSeesItsOwnVersionAndOthersTheCommittedOne(t *testing.T, on hosttest.Store) {
	t.Helper()
	replica, h := openReplica(t, on)
	undo := skald.Refuse("undo", "nothing is to stay")
	see := func(version int) {
		t.Helper()
		got, ok, err := replica.Await(t.Context(), "r", 0)
		if err != nil || !ok || got.Version != version {
			t.Errorf("committed: %+v, %t, %v; want version %d", got, ok, err, version)
		}
	}
	for version := range 2 {
		err := hosttest.InTx(t, h, func(ctx context.Context, tx *sql.Tx) error {
			if err := replica.replicate(ctx, tx, menu(version+1, "soup")); err != nil {
				return err
			}
			got, ok, err := replica.Find(ctx, tx, "r")
			if err != nil || !ok || got.Version != version+1 {
				t.Errorf("inside: %+v, %t, %v", got, ok, err)
			}
			if version == 0 {
				return err
			}
			see(1)
			return undo
		})
		if version == 1 && !errors.Is(err, undo) {
			t.Fatal(err)
		}
	}
	see(1)
}

func TestTheCacheIsBounded(t *testing.T) {
	var c cache
	for range 3 * cacheSize {
		r := menu(1)
		r.ID = skald.NewID().String()
		c.put(New(r))
	}
	if len(c.entries) > cacheSize {
		t.Errorf("%d restaurants in memory", len(c.entries))
	}
}
