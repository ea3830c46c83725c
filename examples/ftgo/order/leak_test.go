package order

import (
	"testing"

	"go.uber.org/goleak"
)

// A server of this process ends with it.
var server = goleak.IgnoreAnyFunction("github.com/skald-go/skald/internal/servers.(*process).wait")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, server) }
