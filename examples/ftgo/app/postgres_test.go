package app_test

import (
	"strings"
	"testing"

	"github.com/skald-go/skald/examples/ftgo/api/orderapi"
	"github.com/skald-go/skald/examples/ftgo/app"
	"github.com/skald-go/skald/examples/ftgo/databases"
	"github.com/skald-go/skald/internal/servers"
	"github.com/skald-go/skald/store/postgres"
)

// The shop on PostgreSQL, whichever way the relays read the outboxes: also while the server is
// away, and once it is back.
func TestTheShopOnPostgreSQL(t *testing.T) {
	for _, relay := range []postgres.Relay{postgres.Tail, postgres.Poll} {
		t.Run(string(relay), func(t *testing.T) {
			t.Parallel()
			onPostgreSQL(t, relay)
		})
	}
}

func onPostgreSQL(t *testing.T, relay postgres.Relay) {
	t.Helper()
	server := servers.StartPostgreSQL(t)
	shops, err := databases.NewPostgres(server.URL(), relay)
	if err != nil {
		t.Fatal(err)
	}
	p := startWith(t, app.Config{Data: t.TempDir(), Databases: shops})
	s := p.shop(t, "60.00")
	place := func(style, want string) {
		t.Helper()
		p.ends(t, p.want(t, 202, "POST", "/v1/orders", s.order(inStyle(style, orderOfPies))).field("id"), want)
	}
	place(orderapi.Parallel, "APPROVED")
	anOrderIsCancelledUntilItIsPrepared(t, p)
	anOrderIsRevisedWhenTheCardPaysForIt(t, p)
	ofACancelAndARevisionOneWins(t, p, 10)
	whoSeesApprovedMayChangeTheOrderAtOnce(t, p, 20)
	whoSeesApprovedMayChangeTheOrderAtOnce(t, p.in(orderapi.Choreography), 20)
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "not ready while the server is away", func() bool {
		answer := p.send(t, "GET", "/readyz", "")
		return answer.status == 503 && strings.Contains(string(answer.body), "order")
	})
	p.want(t, 200, "GET", "/healthz", "")
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "ready again", func() bool { return p.send(t, "GET", "/readyz", "").status == 200 })
	place(orderapi.Orchestration, "APPROVED")
	for _, style := range orderapi.Styles {
		place(style, "REJECTED") // 25.00 each
	}
	cleanOn(t, shops)
	if err := p.stop(); err != nil {
		t.Errorf("drain: %v", err)
	}
}
