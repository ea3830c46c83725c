package consumer

import (
	"context"
	"database/sql"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/api/consumerapi"
	"github.com/skald-go/skald/examples/ftgo/host"
	"github.com/skald-go/skald/examples/ftgo/hosttest"
	"github.com/skald-go/skald/examples/ftgo/money"
	"github.com/skald-go/skald/skaldtest"
)

func openConsumers(t *testing.T, on hosttest.Store) (*consumers, host.Host) {
	t.Helper()
	h := hosttest.New(t, on, "consumer", skaldtest.NewBroker(skaldtest.BrokerConfig{}))
	c, err := open(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	hosttest.Run(t, h.Service)
	return c, h
}

func TestAConsumerIsRegisteredAndTold(t *testing.T) {
	hosttest.OnEachStore(t, aConsumerIsRegisteredAndTold)
}

func aConsumerIsRegisteredAndTold(t *testing.T, on hosttest.Store) {
	t.Helper()
	c, h := openConsumers(t, on)
	answer := hosttest.Do(t, c.routes(), http.MethodPost, "/v1/consumers", `{"name":"Ada","orderLimit":"50.00","creditLimit":"100.00"}`)
	var made view
	if err := json.Unmarshal(answer.Body.Bytes(), &made); err != nil || answer.Code != 201 {
		t.Fatalf("%d %s, %v", answer.Code, answer.Body, err)
	}
	if location := answer.Header().Get("Location"); location != "/v1/consumers/"+made.ID {
		t.Errorf("location %q", location)
	}
	again := hosttest.Do(t, c.routes(), http.MethodGet, "/v1/consumers/"+made.ID, "")
	if again.Code != 200 || again.Body.String() != answer.Body.String() {
		t.Errorf("GET: %d %s, POST: %s", again.Code, again.Body, answer.Body)
	}
	told := `{"id":"` + made.ID + `","version":1,"name":"Ada","orderLimit":"50.00","creditLimit":"100.00"}`
	sent := hosttest.Sent(t, h, consumerapi.Events)
	if len(sent) != 1 || sent[0].Type != consumerapi.ConsumerRegistered.Name || sent[0].Key != made.ID || string(sent[0].Payload) != told {
		t.Errorf("sent %v, want %s", sent, told)
	}
	if n := hosttest.Count(t, h, `SELECT count(*) FROM audit_sent WHERE kind = 3 AND channel = ?`, consumerapi.Events); n != 1 {
		t.Errorf("%d sent messages on record", n)
	}
}

func TestBadConsumersAreRefusedWithTheFieldNamed(t *testing.T) {
	c, h := openConsumers(t, hosttest.SQLite)
	for body, field := range map[string]string{
		`{"creditLimit":"1.00"}`:                                           "name",
		`{"name":"Ada"}`:                                                   "creditLimit",
		`{"name":"Ada","creditLimit":"-1.00"}`:                             "creditLimit",
		`{"name":"Ada","creditLimit":1}`:                                   "creditLimit",
		`{"name":"Ada","creditLimit":"1.00","orderLimit":"1"}`:             "orderLimit",
		`{"name":"A\u0000a","creditLimit":"1.00"}`:                         "name",
		`{"name":"` + strings.Repeat("x", 201) + `","creditLimit":"1.00"}`: "name",
		`null`: "name",
	} {
		answer := hosttest.Do(t, c.routes(), http.MethodPost, "/v1/consumers", body)
		if answer.Code != 422 || !strings.Contains(answer.Body.String(), `"field":"`+field+`"`) {
			t.Errorf("%.60s: %d %s", body, answer.Code, answer.Body)
		}
	}
	if n := hosttest.Count(t, h, `SELECT count(*) FROM consumers`); n != 0 {
		t.Errorf("%d consumers", n)
	}
	for _, id := range []string{"nobody", skald.NewID().String()} {
		if answer := hosttest.Do(t, c.routes(), http.MethodGet, "/v1/consumers/"+id, ""); answer.Code != 404 {
			t.Errorf("%s: %d", id, answer.Code)
		}
	}
}

func TestVerificationAppliesTheOrderLimit(t *testing.T) {
	hosttest.OnEachStore(t, verificationAppliesTheOrderLimit)
}

func verificationAppliesTheOrderLimit(t *testing.T, on hosttest.Store) {
	t.Helper()
	c, h := openConsumers(t, on)
	limit := money.Amount(5000)
	limited := consumerapi.Consumer{ID: "limited", Version: 1, OrderLimit: &limit}
	free := consumerapi.Consumer{ID: "free", Version: 1}
	for name, test := range map[string]struct {
		v    consumerapi.Verification
		code string
	}{
		"at the limit":   {consumerapi.Verification{ConsumerID: "limited", Total: 5000}, ""},
		"over the limit": {consumerapi.Verification{ConsumerID: "limited", Total: 5001}, consumerapi.RefusedOverOrderLimit},
		"no limit":       {consumerapi.Verification{ConsumerID: "free", Total: money.Max}, ""},
		"unknown":        {consumerapi.Verification{ConsumerID: "nobody"}, consumerapi.RefusedUnknownConsumer},
	} {
		undo := skald.Refuse("undo", "the next case begins anew")
		_ = hosttest.InTx(t, h, func(ctx context.Context, tx *sql.Tx) error {
			for _, known := range []consumerapi.Consumer{limited, free} {
				if err := c.store.add(ctx, tx, known, 0); err != nil {
					t.Fatal(err)
				}
			}
			_, err := c.verify(ctx, tx, test.v)
			if refusal, refused := skald.AsRefusal(err); refused != (test.code != "") || refused && refusal.Code != test.code {
				t.Errorf("%s: %v, want %q", name, err, test.code)
			}
			return undo
		})
	}
}
