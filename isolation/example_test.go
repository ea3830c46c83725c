package isolation_test

import (
	"context"
	"fmt"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/isolation"
	"github.com/skald-go/skald/saga"
)

func ExampleDelta() {
	credit, err := isolation.NewDelta(
		`UPDATE accounts SET authorized = authorized + $1 WHERE id = $2 AND authorized + $1 BETWEEN 0 AND credit_limit`,
		skald.Refuse("card_declined", "not enough credit"))
	if err != nil {
		panic(err)
	}
	ctx, ada := context.Background(), &account{limit: 100}
	tx := ada.table("ada") // a *sql.Tx or a *postgres.Tx
	fmt.Println(credit.Apply(ctx, tx, 80, "ada"), ada.authorized)
	fmt.Println(credit.Apply(ctx, tx, 30, "ada"), ada.authorized)
	fmt.Println(credit.Undo(ctx, tx, 80, "ada"), ada.authorized)

	_, err = isolation.NewDelta(`UPDATE accounts SET authorized = $1 WHERE id = $2`, skald.Refuse("card_declined", ""))
	fmt.Println(err)
	// Output:
	// <nil> 80
	// refused (card_declined): not enough credit 80
	// <nil> 0
	// isolation: delta "UPDATE accounts SET authorized = $1 WHERE id = $2" is refused:
	// authorized is set to a value: add the amount to it or subtract it, and nothing else, as in authorized = authorized + $1: only that can be undone when others have written since
	// no guard: mention the amount in WHERE as well, as in AND authorized + $1 <= credit_limit
}

func ExampleReread() {
	revise, err := isolation.NewReread(
		`UPDATE orders SET total = $1, version = version + 1 WHERE id = $2 AND version = $3`,
		skald.Refuse("order_changed", "the order was changed meanwhile")) // declared by the command
	if err != nil {
		panic(err)
	}
	version := int64(4)
	tx := table(func(args []any) (rows int64, err error) { // a database
		if args[2] == version {
			version, rows = version+1, 1
		}
		return rows, nil
	})
	fmt.Println(revise.Write(context.Background(), tx, 4, 1200, "order 1"))
	fmt.Println(revise.Write(context.Background(), tx, 4, 1500, "order 1"))
	// Output:
	// <nil>
	// refused (order_changed): the order was changed meanwhile
}

func ExampleVersionFile() {
	var of isolation.VersionFile[string] // kept as JSON beside the authorization
	for _, arrives := range []isolation.Operation[string]{
		{After: 1, Version: 2, Content: "reverse"},
		{After: 0, Version: 1, Content: "authorize"},
		{After: 1, Version: 2, Content: "reverse"},
		{After: 1, Version: 3, Content: "revise"},
	} {
		next, now, err := of.Record(arrives)
		if err != nil {
			fmt.Println(err)
			continue
		}
		of = next
		fmt.Printf("%s arrives: apply %d %v\n", arrives.Content, len(now), now)
	}
	// Output:
	// reverse arrives: apply 0 []
	// authorize arrives: apply 2 [{0 1 authorize} {1 2 reverse}]
	// isolation: an operation that makes this version was recorded before: it follows version 1 and makes 2
	// isolation: the record has changed since the version that the operation was decided on: it follows version 1 and makes 3, and the record is at 2
}

func ExampleByValue() {
	type order struct{ total int64 }
	type rule = isolation.Rule[order, string]
	paths, err := isolation.NewByValue(func(o order) int64 { return o.total },
		rule{Name: "large", From: 50_000, Path: "validated again before the card is charged"},
		rule{Name: "any", Path: "as it is"},
	)
	if err != nil {
		panic(err)
	}
	for _, total := range []int64{49_999, 50_000} {
		fmt.Println(total, paths.For(order{total}).Path)
	}
	// Output:
	// 49999 as it is
	// 50000 validated again before the card is charged
}

// A cancel that frees the credit before the kitchen has agreed.
func ExampleReview() {
	type cancel struct{ Order string }
	ask := func(name string, refusals ...string) skald.Command[cancel, struct{}] {
		return skald.Command[cancel, struct{}]{Name: name, Channel: name, Refusals: refusals}
	}
	call := func(c skald.Command[cancel, struct{}]) saga.CallAction[cancel, struct{}] {
		return saga.Call(c, func(c cancel) cancel { return c })
	}
	const credit, ticket skald.Resource = "accounting.credit", "kitchen.ticket"
	definition := saga.Definition[cancel]{
		Name: "order.cancel",
		Compensatable: []saga.Compensatable[cancel]{
			{Name: "free credit", Do: call(ask("free")), Raises: []skald.Resource{credit}},
			{Name: "mark order", Do: call(ask("mark")), Lowers: []skald.Resource{"order.order"}},
		},
		Pivot: saga.Step[cancel]{Name: "cancel ticket", Do: call(ask("cancel", "in_preparation")), Lowers: []skald.Resource{ticket}},
	}
	report, err := isolation.Review(definition)
	if err != nil {
		panic(err)
	}
	fmt.Print(report)

	_, err = saga.Describe(definition) // as Register does
	fmt.Println(err)
	// Output:
	// saga "order.cancel" version 1: raised early 2, lowered late 0, lowered early 1
	//   as it is: "free credit", "mark order", the pivot "cancel ticket"
	//   better:   "mark order", the pivot "cancel ticket", then "free credit" (raised early 0, lowered late 0, lowered early 1)
	//   - step "free credit" raises ["accounting.credit"] while 2 steps may still undo it: it moves behind the pivot, where it needs no undo and must not be refused
	// saga "order.cancel" version 1 is refused:
	// step "free credit": raises ["accounting.credit"] before the saga is decided, and 2 steps may still undo it, when others have taken it: move it behind the pivot; the order of the least risk: "mark order", the pivot "cancel ticket", then "free credit"
}
