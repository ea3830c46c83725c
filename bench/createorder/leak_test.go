package createorder

import (
	"testing"

	"go.uber.org/goleak"
)

// The server that tests share, where this process has to start it, ends with the process.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/skald-go/skald/internal/servers.(*process).wait"))
}
