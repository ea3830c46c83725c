package app_test

import (
	"testing"

	"go.uber.org/goleak"
)

// The NATS server counts the users of a ticker of its own, and on some ways down it counts one too many: then
// that one goroutine stays.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"))
}
