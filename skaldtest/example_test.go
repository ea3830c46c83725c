package skaldtest_test

import (
	"context"
	"fmt"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/outbox"
	"github.com/skald-go/skald/skaldtest"
)

// A write and the message that tells of it commit together.
func ExampleStore() {
	ctx := context.Background()
	store := skaldtest.NewStore()
	box, err := outbox.New(store, "kitchen")
	if err != nil {
		panic(err)
	}
	opened := skald.Event[string]{Name: "kitchen.opened", Channel: "kitchen.events"}
	for _, end := range []func(tx *skaldtest.Tx) error{(*skaldtest.Tx).Rollback, (*skaldtest.Tx).Commit} {
		tx, err := store.BeginTx(ctx)
		if err != nil {
			panic(err)
		}
		tx.Put("kitchens", "1", "open")
		if err := outbox.Publish(ctx, box, tx, opened, "1"); err != nil {
			panic(err)
		}
		if err := end(tx); err != nil {
			panic(err)
		}
		fmt.Println(store.List("kitchens"), len(store.Outbox()))
	}
	// Output:
	// map[] 0
	// map[1:open] 1
}
