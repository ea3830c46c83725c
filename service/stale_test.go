package service_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/skaldtest"
)

// A service keeps live sagas in memory. What another instance has made of one of them meanwhile is
// not overwritten: the next reply is handled on what is stored.
func TestASagaThatChangedElsewhereGoesOnFromWhatIsStored(t *testing.T) {
	inShop(t, nil, func(s *shop) {
		asked, answer := make(chan struct{}), make(chan struct{})
		s.on(authorize.Name, func(context.Context, *skaldtest.Tx) error {
			close(asked)
			<-answer
			return nil
		})
		s.mustPlace("a", 1, 500)
		<-asked // the order service has the saga in memory
		s.changeElsewhere("a", func(now *state) { now.Reason = "changed elsewhere" })
		close(answer)
		s.pass(10 * time.Second)
		s.approved("a")
		if got := s.outcome("a").State.Reason; got != "changed elsewhere" {
			t.Errorf("the state's reason is %q: the change was overwritten", got)
		}
		s.nothingHeld()
		s.once()
	})
}

// changeElsewhere changes a saga's state as another instance would.
func (s *shop) changeElsewhere(order string, change func(*state)) {
	s.t.Helper()
	ctx, store := s.t.Context(), s.stores["order"].Connect()
	b, err := store.Begin(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = b.Rollback() }() // does nothing after the commit
	records, err := store.LoadSagas(ctx, b.Tx(), []skald.ID{s.outcome(order).ID})
	if err != nil || len(records) != 1 {
		s.t.Fatalf("%d sagas of %s, %v", len(records), order, err)
	}
	var now state
	r := records[0]
	if err := json.Unmarshal(r.State, &now); err != nil {
		s.t.Fatal(err)
	}
	change(&now)
	if r.State, err = json.Marshal(now); err != nil {
		s.t.Fatal(err)
	}
	r.Revision++
	if err := store.SaveSagas(ctx, b.Tx(), []saga.Record{r}); err != nil {
		s.t.Fatal(err)
	}
	if err := b.Commit(ctx); err != nil {
		s.t.Fatal(err)
	}
}
