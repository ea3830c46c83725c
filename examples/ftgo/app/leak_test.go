package app_test

import (
	"testing"

	"go.uber.org/goleak"
)

// The NATS server has a ticker of its own for all servers of a process. It was seen once that its
// goroutine stayed after the last of them.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"))
}
